"""A learner that gives its memory away between steps learns what one that keeps it does.

On the CPU, where DeepSpeed goes through all of it but has nowhere to move the memory to.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from actors.learner.batches import GrpoStep, TokenSequences
from actors.learner.grpo import grpo_step
from actors.learner.sft import sft_step
from actors.learner.trainer import Trainer
from actors.settings import GrpoLossSettings, OptimizerSettings
from actors.trajectory import TrajectoryBatch

MakeTrainer = Callable[..., Trainer]
ADAM = OptimizerSettings(lr=1e-2)
TEXTS = TokenSequences(
    np.random.default_rng(0).integers(0, 64, 60).astype(np.int32), np.arange(0, 61, 10), np.ones(60, np.bool_)
)
ROWS = np.arange(6)
MOVABLE = [
    (1, "float32", False),
    (2, "float32", False),
    (2, "bfloat16", False),
    (2, "bfloat16", True),
]


STATES = {"optim_states", "hp_params", "lp_grads"}


def on_the_host(trainer: Trainer) -> set[str]:
    return {state.value for state in trainer.engine.optimizer.offloaded_states}


def equal(some: dict[str, np.ndarray], others: dict[str, np.ndarray]) -> bool:
    return some.keys() == others.keys() and all((some[name] == others[name]).all() for name in some)


@pytest.mark.parametrize(("zero_stage", "dtype", "offload_optimizer"), MOVABLE)
def test_the_steps_are_those_of_a_learner_that_keeps_its_memory(
    make_trainer: MakeTrainer, model_folder: Path, zero_stage: int, dtype: str, offload_optimizer: bool
) -> None:
    def trained(in_turns: bool) -> dict[str, np.ndarray]:
        trainer = make_trainer(zero_stage=zero_stage, dtype=dtype, offload_optimizer=offload_optimizer)
        trainer.load(str(model_folder), ADAM, 10)
        for _ in range(2):
            sft_step(trainer, TEXTS, ROWS)
            if in_turns:
                trainer.free_memory(keep_weights=True)
                assert on_the_host(trainer) >= STATES - ({"optim_states", "hp_params"} if offload_optimizer else set())
                assert "lp_params" not in on_the_host(trainer)
                trainer.free_memory(keep_weights=False)
                assert "lp_params" in on_the_host(trainer)
                trainer.take_memory()
                assert on_the_host(trainer) == set()
        return trainer.weights()

    assert equal(trained(in_turns=True), trained(in_turns=False))


@pytest.mark.parametrize("keep_weights", [True, False])
def test_weights_are_handed_out_exported_and_saved_from_the_host(
    make_trainer: MakeTrainer, model_folder: Path, tmp_path: Path, keep_weights: bool
) -> None:
    trainer = make_trainer(zero_stage=2)
    trainer.load(str(model_folder), ADAM, 10)
    sft_step(trainer, TEXTS, ROWS)
    weights = trainer.weights()
    trainer.free_memory(keep_weights)
    assert equal(trainer.weights(), weights)
    trainer.export(tmp_path / "model")
    exported = load_file(tmp_path / "model" / "model.safetensors")
    assert equal(exported, {name: weights[name] for name in exported})
    trainer.save_state(tmp_path / "state")

    resumed = make_trainer(zero_stage=2)
    resumed.load(str(model_folder), ADAM, 10)
    resumed.load_state(tmp_path / "state")
    trainer.take_memory()
    for each in (trainer, resumed):
        sft_step(each, TEXTS, ROWS)
    assert equal(trainer.weights(), resumed.weights())


def test_the_reference_is_there_again_at_the_next_step(
    make_trainer: MakeTrainer, model_folder: Path, trajectories: TrajectoryBatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    moved: list[str] = []

    def kl(in_turns: bool) -> float:
        trainer = make_trainer(zero_stage=2)
        trainer.load(str(model_folder), ADAM, 10, reference=str(model_folder))
        sft_step(trainer, TEXTS, ROWS)
        if in_turns:
            assert trainer.reference is not None
            monkeypatch.setattr(trainer.reference, "to", lambda device: moved.append(str(device)))
            trainer.free_memory(keep_weights=False)
            trainer.take_memory()
        step = GrpoStep(
            advantages=np.linspace(-1, 1, 8).astype(np.float32),
            trainable=np.ones(8, np.bool_),
            minibatches=[np.arange(8)],
            loss=GrpoLossSettings(),
            temperature=1.0,
            version=3,
        )
        return grpo_step(trainer, trajectories, step).kl

    assert kl(in_turns=True) == kl(in_turns=False) > 0
    assert moved == ["cpu", "cpu"]


def test_another_model_may_be_loaded_whether_the_memory_is_there_or_not(
    make_trainer: MakeTrainer, model_folder: Path
) -> None:
    trainer = make_trainer(zero_stage=2)
    trainer.free_memory(keep_weights=False)
    trainer.take_memory()
    trainer.load(str(model_folder), ADAM, 10)
    trainer.free_memory(keep_weights=False)
    trainer.load(str(model_folder), ADAM, 10)
    assert sft_step(trainer, TEXTS, ROWS).loss > 0


@pytest.mark.parametrize(("zero_stage", "dtype"), [(0, "float32"), (1, "bfloat16"), (3, "float32")])
def test_deepspeed_cannot_move_the_stages_that_the_configuration_refuses(
    make_trainer: MakeTrainer, model_folder: Path, zero_stage: int, dtype: str
) -> None:
    trainer = make_trainer(zero_stage=zero_stage, dtype=dtype)
    trainer.load(str(model_folder), ADAM, 10)
    with pytest.raises((AttributeError, AssertionError), match=r"offload_states|only for DeepSpeed FusedAdam"):
        trainer.free_memory(keep_weights=True)
