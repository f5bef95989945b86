"""Starts the actors of a run when a stage first needs them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack

from cluster.metrics.publisher import Reading
from cluster.supervision import ActorWatch
from pipelines.experiment.schema import Experiment
from pipelines.models.base_models import BaseModels
from pipelines.rollout.pool_readings import pool_readings
from pipelines.system.starting import Part, starting_system
from pipelines.system.system import System


class SystemOnDemand:
    """Starts the actors when a stage first needs them, or earlier. Its end as a context manager stops them."""

    def __init__(self, watch: ActorWatch | None = None) -> None:
        """`watch` supervises all actors while they run."""
        self._watch = watch
        self._teacher: tuple[object, ...] | None = None
        self._starting: Callable[[], System] | None = None
        self._system: System | None = None
        self._ends = ExitStack()

    def begin(self, experiment: Experiment, models: BaseModels, parts: Collection[Part]) -> None:
        """Start a system with these optional parts in the background, unless there is one with this teacher."""
        teacher = models.teacher, models.served
        if self._teacher != teacher:
            self.close()
            self._starting = self._ends.enter_context(starting_system(experiment, models, parts, self._watch))
            self._teacher = teacher

    def get(self, experiment: Experiment, models: BaseModels, parts: Collection[Part]) -> System:
        """Return the running system. Starts one with these optional parts if there is none with this teacher."""
        self.begin(experiment, models, parts)
        if self._system is None:
            assert self._starting is not None
            self._system = self._starting()
        return self._system

    def readings(self) -> Iterator[Reading]:
        """Yield what the driver's metrics show of its actors now: nothing while there are none."""
        if (system := self._system) is not None:
            yield from pool_readings(system.rollout)

    def close(self) -> None:
        """Stop the actors."""
        self._teacher = self._starting = self._system = None
        self._ends.close()

    def __enter__(self) -> SystemOnDemand:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()
