"""A step without a finite gradient is dropped and counted; too many in a row end the run. Sums are in float32."""

import math

import numpy as np
import pytest

from actors.learner.batches import GrpoStep, TokenSequences
from actors.learner.errors import NonFiniteStepsError
from actors.learner.grpo import grpo_step
from actors.learner.sft import sft_step
from actors.settings import GrpoLossSettings, OptimizerSettings

OPTIMIZER = OptimizerSettings(lr=1e-2)
LOSS = GrpoLossSettings(kl_coefficient=0.0)
GOOD = np.asarray([1.0, -1.0, 0.5, -0.5, 1.5, -1.5, 0.7, -0.7], np.float32)
BAD = np.where(np.arange(8) == 2, np.nan, GOOD).astype(np.float32)
LAYOUTS = [(stage, dtype) for stage in range(4) for dtype in ("float32", "bfloat16")]


def grpo(trainer, trajectories, advantages, minibatches):
    step = GrpoStep(
        advantages=advantages,
        trainable=np.ones(8, np.bool_),
        minibatches=minibatches,
        loss=LOSS,
        temperature=1.0,
        version=3,
    )
    return grpo_step(trainer, trajectories, step)


@pytest.mark.parametrize(("stage", "dtype"), LAYOUTS)
def test_a_non_finite_step_changes_nothing_but_its_count(make_trainer, model_folder, trajectories, stage, dtype):
    halves = [np.arange(4), np.arange(4, 8)]
    trainer = make_trainer(zero_stage=stage, dtype=dtype)
    trainer.load(str(model_folder), OPTIMIZER, 10)
    dropped = grpo(trainer, trajectories, BAD, halves)
    weights = trainer.weights()

    other = make_trainer(zero_stage=stage, dtype=dtype)
    other.load(str(model_folder), OPTIMIZER, 10)
    taken = grpo(other, trajectories, GOOD, halves[1:])

    assert (dropped.optimizer_steps, dropped.non_finite_steps) == (1, 1)
    assert (dropped.loss, dropped.grad_norm, dropped.trained_tokens) == (
        taken.loss,
        taken.grad_norm,
        taken.trained_tokens,
    )
    assert all(np.array_equal(weights[name], value) for name, value in other.weights().items())
    assert trainer.steps_taken == 2


def test_the_run_stops_at_the_last_of_so_many_in_a_row(make_trainer, model_folder, trajectories):
    trainer = make_trainer(max_non_finite_steps=2)
    trainer.load(str(model_folder), OPTIMIZER, 10)
    rows = [np.arange(8)]
    grpo(trainer, trajectories, BAD, rows)
    grpo(trainer, trajectories, GOOD, rows)  # begins the count anew
    grpo(trainer, trajectories, BAD, rows)
    with pytest.raises(NonFiniteStepsError, match=r"2 optimizer steps in a row .* \(learner\.max_non_finite_steps\)"):
        grpo(trainer, trajectories, BAD, rows)


def test_a_supervised_step_is_dropped_as_well(make_trainer, model_folder, monkeypatch):
    texts = TokenSequences(np.arange(20, dtype=np.int32), np.asarray([0, 20]), np.ones(20, np.bool_))
    trainer = make_trainer()
    trainer.load(str(model_folder), OPTIMIZER, 10)
    before = trainer.weights()
    # The loss alone: a gradient that is finite beside it would move the weights.
    forward = trainer.engine.module.forward
    monkeypatch.setattr(
        trainer.engine.module, "forward", lambda *inputs: (forward(*inputs)[0] + math.inf, *forward(*inputs)[1:])
    )
    dropped = sft_step(trainer, texts, np.arange(1))
    assert dropped.non_finite_steps == 1
    assert all(np.array_equal(before[name], value) for name, value in trainer.weights().items())


@pytest.mark.parametrize("stage", [pytest.param(1, marks=pytest.mark.slow), 2, pytest.param(3, marks=pytest.mark.slow)])
def test_bfloat16_gradients_of_many_micro_batches_are_summed_in_float32(make_trainer, model_folder, stage):
    """Each of 512 equal parts is below half a unit of the sum in bfloat16 from its 256th on: it would round away."""
    tokens = np.random.default_rng(0).integers(0, 64, 8).astype(np.int32)
    rows = 512
    batch = TokenSequences(np.tile(tokens, rows), np.arange(0, 8 * rows + 1, 8), np.ones(8 * rows, np.bool_))

    def norm(count: int) -> float:
        trainer = make_trainer(zero_stage=stage, dtype="bfloat16", max_tokens=8)
        trainer.load(str(model_folder), OPTIMIZER, 10)
        found = sft_step(trainer, batch, np.arange(count)).grad_norm
        trainer.unload()
        return found

    # The mean over equal rows, each a micro-batch, is the gradient of one row.
    assert norm(rows) == pytest.approx(norm(1), rel=2e-3)
