"""The clock of GRPO's steps."""

import pytest

from pipelines.stages.grpo import PhaseClock


def test_the_clock_has_each_phase_and_the_step() -> None:
    clock = PhaseClock()
    with clock.phase("rollout"):
        pass
    with clock.phase("learn"):
        pass
    metrics = clock.metrics()
    assert metrics.keys() == {"time/rollout_s", "time/learn_s", "time/step_s"}
    assert 0 <= metrics["time/rollout_s"] + metrics["time/learn_s"] <= metrics["time/step_s"]


def test_a_phase_that_fails_raises_its_error() -> None:
    clock = PhaseClock()
    with pytest.raises(ValueError, match="broken"), clock.phase("rollout"):
        raise ValueError("broken")
    assert clock.seconds == {}
