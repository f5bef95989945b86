"""The metrics of a run's last steps and its alarms, as they are exported for Prometheus."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from cluster.metrics.publisher import Reading
from pipelines.experiment.alarms import ALARMS, AlarmEvent


class LastValues:
    """What was last logged of each stage. The driver logs in one thread, and another one may read."""

    def __init__(self) -> None:
        self._steps: dict[str, int] = {}
        self._values: dict[tuple[str, str], float] = {}
        self._open_alarms: frozenset[str] = frozenset()

    def logged(self, stage: str, step: int, metrics: Mapping[str, float]) -> None:
        """Take the metrics of a step."""
        self._steps[stage] = step
        self._values |= {(stage, name): value for name, value in metrics.items()}

    def alarms(self, now_open: Iterable[AlarmEvent]) -> None:
        """Take the alarms that are open now."""
        self._open_alarms = frozenset(event.alarm for event in now_open)

    def readings(self) -> Iterator[Reading]:
        """Yield the steps and values, and for each alarm whether it is open."""
        for stage, step in list(self._steps.items()):
            yield Reading("relayllm_step", step, {"stage": stage})
        for (stage, metric), value in list(self._values.items()):
            yield Reading("relayllm_last_value", value, {"stage": stage, "metric": metric})
        for alarm in ALARMS:
            yield Reading("relayllm_alarm", float(alarm in self._open_alarms), {"alarm": alarm})
