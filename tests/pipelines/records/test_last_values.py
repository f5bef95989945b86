"""What the driver exports of its run: the last step of each stage, and its alarms."""

from __future__ import annotations

from pipelines.experiment.alarms import ALARMS, AlarmEvent
from pipelines.records.last_values import LastValues

FAILED = AlarmEvent("began", "failed_calls", "grpo", 3, 0.4, 0.1, "", None)


def shown(values: LastValues) -> dict[tuple[str, ...], float]:
    return {(reading.name, *reading.tags.values()): reading.value for reading in values.readings()}


def test_the_last_step_of_each_stage_is_shown() -> None:
    values = LastValues()
    values.logged("warmup", 9, {"learner/loss": 0.5})
    values.logged("grpo", 1, {"learner/loss": 0.3, "reward/mean": 1.0})
    values.logged("grpo", 2, {"learner/loss": 0.2})
    found = shown(values)
    assert found["relayllm_step", "grpo"] == 2 and found["relayllm_step", "warmup"] == 9
    assert found["relayllm_last_value", "grpo", "learner/loss"] == 0.2
    assert found["relayllm_last_value", "grpo", "reward/mean"] == 1.0
    assert found["relayllm_last_value", "warmup", "learner/loss"] == 0.5


def test_an_alarm_is_1_while_it_is_open_and_0_otherwise() -> None:
    values = LastValues()
    values.alarms([FAILED])
    found = shown(values)
    assert {alarm for alarm in ALARMS if found["relayllm_alarm", alarm]} == {"failed_calls"}
    values.alarms([])
    assert not any(value for key, value in shown(values).items() if key[0] == "relayllm_alarm")
