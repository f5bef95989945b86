"""The actors of a run, and the student whose weights the rollout workers hold."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import ray
from ray.actor import ActorHandle

from actors.learner.group import LearnerGroup
from actors.weight_files import read_weights
from cluster.gpu_turns import GpuTurns
from cluster.weight_transport import WeightTransport
from pipelines.rollout.pool import RolloutPool
from pipelines.rollout.weight_probe import WeightProbe

PhaseTimer = Callable[[str], AbstractContextManager[None]]
"""makes a context manager that times the part of a step with the given name"""


def _untimed(name: str) -> AbstractContextManager[None]:
    return nullcontext()


@dataclass(frozen=True, slots=True)
class Training:
    """What trains the student, and what brings its weights to the rollout workers."""

    learner: LearnerGroup
    transport: WeightTransport
    turns: GpuTurns | None = None
    """switches the GPUs between engines and learner; None if they do not share GPUs"""
    probe: WeightProbe | None = None
    """compares the engines with the learner after each sync; None without it"""

    def sync(self, version: int) -> None:
        """Give the learner's weights to the rollout workers, as policy `version`. Wakes engines that sleep.

        With a `probe`, engines that do not compute what the learner does get the weights again, and are restarted if that does not
        help.
        """
        if self.turns is not None and self.turns.engines_sleep:
            self.turns.to_engines(partial(self._sync, version))
        else:
            self._sync(version)

    def _sync(self, version: int) -> None:
        self.transport.sync(version)
        if self.probe is not None:
            self.probe.settle(partial(self.transport.sync, version))


@dataclass(slots=True)
class System:
    """Handles of all actors, and the student whose weights the rollout workers hold."""

    teachers: Sequence[ActorHandle[Any]]
    """all with the same model; none if a server has the teacher"""
    rollout: RolloutPool
    reward: ActorHandle[Any]
    student: str | None
    """the folder of the weights that the rollout workers hold; None if they are the learner's"""
    citer: ActorHandle[Any] | None = None
    """None if nothing of the CITER baseline is left to do"""
    training: Training | None = None
    """None if nothing is left to train"""

    @property
    def learner(self) -> LearnerGroup:
        return self._training().learner

    @contextmanager
    def learning(self, phase: PhaseTimer = _untimed) -> Iterator[None]:
        """Run a block in which the learner loads weights and trains.

        With `cluster.colocate` the engines sleep during the block. `sync_weights` wakes them with the learner's weights. If
        the block does not call it, its end does. `phase` times how long the engines take to fall asleep.
        """
        turns = self._training().turns
        if turns is not None:
            with phase("sleep"):
                turns.to_learner()
        yield
        if turns is not None and turns.engines_sleep:
            self.sync_weights()

    def sync_weights(self) -> None:
        """Give the learner's weights to all rollout workers as the next policy version. See `Training.sync`."""
        # A worker starts with version 0, so the version always tells a restarted worker from the others.
        self._training().sync(self.rollout.version + 1)
        self.student = None

    def use_student(self, folder: str) -> None:
        """Give the weights in `folder` to all rollout workers, unless they already hold them."""
        if self.student != folder:
            self.rollout.load_weights(ray.put(read_weights(Path(folder))), self.rollout.version + 1)
            self.student = folder

    def _training(self) -> Training:
        assert self.training is not None, "the learner was not started: nothing was left to train"
        return self.training
