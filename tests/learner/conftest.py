"""A tiny model, trajectories and a one-rank process group for the learner's tests."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

import actors.learner.trainer as trainer_module
from actors.learner.distributed import init_distributed
from actors.learner.trainer import Trainer
from actors.settings import LearnerSettings
from actors.trajectory import FinishReason, RejectedCommands, Source, Trajectory, TrajectoryBatch
from cluster.devices import Device
from cluster.ports import free_port

VOCABULARY = 64


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Qwen3 of two layers with grouped queries and a tied LM head."""
    from transformers import Qwen3Config, Qwen3ForCausalLM

    torch.manual_seed(0)
    config = Qwen3Config(
        vocab_size=VOCABULARY,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        intermediate_size=48,
        max_position_embeddings=128,
        tie_word_embeddings=True,
        initializer_range=0.3,
        dtype="float32",
    )
    folder = tmp_path_factory.mktemp("model")
    Qwen3ForCausalLM(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def process_group() -> None:
    torch.set_num_threads(1)
    init_distributed(0, 1, "127.0.0.1", free_port(), Device.CPU)


@pytest.fixture
def make_trainer(process_group: None) -> Iterator[Callable[..., Trainer]]:
    trainers = []

    def make(max_tokens: int = 4096, zero_stage: int = 0, **settings: object) -> Trainer:
        fields = {"dtype": "float32", "logprob_chunk_tokens": 7} | settings
        trainers.append(
            Trainer(LearnerSettings(zero_stage=zero_stage, max_tokens_per_micro_batch=max_tokens, **fields), 0, 1)
        )
        return trainers[-1]

    yield make
    for trainer in trainers:
        trainer.unload()


@pytest.fixture
def gradients_of(monkeypatch: pytest.MonkeyPatch) -> Callable[[Trainer, Callable[[], object]], dict[str, Tensor]]:
    """Run an action that takes one optimizer step; return the gradients just before it."""

    def capture(trainer: Trainer, action: Callable[[], object]) -> dict[str, Tensor]:
        captured: dict[str, Tensor] = {}
        step = trainer_module.step

        def capturing_step(engine, lr, max_grad_norm):
            captured.update((name, p.grad.clone()) for name, p in engine.module.model.named_parameters())
            return step(engine, lr, max_grad_norm)

        with monkeypatch.context() as patch:
            patch.setattr(trainer_module, "step", capturing_step)
            action()
        return captured

    return capture


@pytest.fixture(scope="session")
def trajectories() -> TrajectoryBatch:
    """Eight trajectories of student and teacher spans, one token of each drawn under a constraint."""
    rng = np.random.default_rng(1)

    def trajectory() -> Trajectory:
        length = int(rng.integers(6, 15))
        sources = np.zeros(length, np.uint8)
        start = int(rng.integers(1, length - 2))
        sources[start : start + 3] = Source.TEACHER
        student = sources == Source.STUDENT
        constrained = np.zeros(length, np.bool_)
        constrained[0] = True
        return Trajectory(
            prompt_ids=rng.integers(0, VOCABULARY, int(rng.integers(2, 6))).astype(np.int32),
            token_ids=rng.integers(0, VOCABULARY, length).astype(np.int32),
            sources=sources,
            logprobs=np.where(student, rng.normal(-4.0, 0.8, length), 0.0).astype(np.float32),
            versions=np.where(student, 3, -1).astype(np.int32),
            constrained=constrained,
            calls=(),
            rejected=RejectedCommands(),
            finish=FinishReason.STUDENT_END,
            text="",
        )

    return TrajectoryBatch.of([trajectory() for _ in range(8)])
