"""What a step teaches does not depend on the order in which its groups were finished."""

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from actors.learner.batches import GrpoStep
from actors.learner.grpo import grpo_step
from actors.settings import GrpoLossSettings, OptimizerSettings
from actors.trajectory import TrajectoryBatch
from pipelines.data.problem import Problem
from pipelines.rollout.decode_and_grade import GradedOrder
from pipelines.rollout.group_supply import Cursor, GroupSupply
from pipelines.stages.grpo import _start_learning

GROUPS, GROUP_SIZE = 4, 2
ADVANTAGES = np.asarray([[1.0, -1.0], [0.5, -0.5], [1.5, -1.5], [0.7, -0.7]], np.float32)


class Arrivals:
    """A stream that finishes its orders, one group of the batch each, in a given order of places."""

    def __init__(self, batch: TrajectoryBatch, places: Sequence[int]) -> None:
        self._batch, self._places = batch, iter(places)

    def add(self, problems: Sequence[Problem], first: int) -> int:
        return first

    def next(self) -> GradedOrder:
        place = next(self._places)
        rows = [self._batch[i] for i in range(place * GROUP_SIZE, (place + 1) * GROUP_SIZE)]
        graded: Any = SimpleNamespace(advantage=ADVANTAGES[place], trainable=np.ones(GROUP_SIZE, np.bool_))
        own: Any = TrajectoryBatch.of(rows)
        return GradedOrder([Problem(str(place), "1", "known")], own, graded, place)

    def started_by(self, index: int) -> int | None:
        return 0


def parameters_after(trainer: Any, batch: TrajectoryBatch, places: Sequence[int]) -> dict[str, np.ndarray]:
    """Return the weights after one step of two mini-batches."""
    stream = Arrivals(batch, places)
    problems = [Problem(str(i), "1", "known") for i in range(GROUPS)]
    supply = GroupSupply(
        stream,
        problems,
        Cursor(0),
        seed=0,
        steps=1,
        per_step=GROUPS,
        extra=0,
        max_staleness=2,
        spoilt=lambda group: False,
    )
    supply.order()

    def start_grpo_step(batches: Sequence[TrajectoryBatch], step: GrpoStep) -> object:
        return grpo_step(trainer, TrajectoryBatch.concatenate(batches), step)

    settings = SimpleNamespace(
        group_size=GROUP_SIZE,
        mini_batches=2,
        loss=GrpoLossSettings(kl_coefficient=0.0),
        sampling=SimpleNamespace(temperature=1.0),
    )
    run: Any = SimpleNamespace(
        experiment=SimpleNamespace(grpo=settings, seed=3),
        actors=lambda: SimpleNamespace(
            learner=SimpleNamespace(start_grpo_step=start_grpo_step), rollout=SimpleNamespace(version=3)
        ),
    )
    _start_learning(run, supply.take(0))
    weights: dict[str, np.ndarray] = trainer.weights()
    return weights


@pytest.mark.parametrize("places", [[3, 2, 1, 0], [1, 3, 0, 2], [2, 0, 3, 1]], ids=str)
def test_any_order_of_arrival_gives_the_same_parameters(
    make_trainer: Any, model_folder: Any, trajectories: TrajectoryBatch, places: list[int]
) -> None:
    found = []
    for order in (list(range(GROUPS)), places):
        trainer = make_trainer(max_tokens=40)
        trainer.load(str(model_folder), OptimizerSettings(lr=1e-2), 10)
        before = trainer.weights()
        found.append(parameters_after(trainer, trajectories, order))
        trainer.unload()
    assert all(np.array_equal(found[0][name], found[1][name]) for name in found[0])
    assert any(not np.array_equal(found[0][name], before[name]) for name in before)
