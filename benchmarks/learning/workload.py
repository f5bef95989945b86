"""The workload of a GRPO step: a random Qwen3 model, and trajectories with long-tailed lengths."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from statistics import NormalDist

import numpy as np

from actors.trajectory import Call, CallEnding, Float32, Int32, RejectedCommands, Source, Trajectory, TrajectoryBatch
from actors.trajectory import FinishReason as Finish

MAX_CALLS = 5
CONSTRAINED_SHARE = 0.002
"""share of the student's tokens that count as drawn from a constrained distribution, and so are not trained"""


@dataclass(frozen=True, slots=True)
class ModelShape:
    """A Qwen3 architecture; the LM head is tied to the embedding."""

    hidden_size: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    intermediate_size: int
    vocabulary: int


TINY = ModelShape(64, 2, 4, 2, 16, 128, 512)
SMALL = ModelShape(256, 4, 4, 2, 64, 768, 4096)
"""the LM head has a quarter of the parameters, as in Qwen3-0.6B"""
QWEN3_0_6B = ModelShape(1024, 28, 16, 8, 128, 3072, 151936)
QWEN3_1_7B = ModelShape(2048, 28, 16, 8, 128, 6144, 151936)


def write_model(folder: Path, shape: ModelShape) -> None:
    """Write a model with random weights as a Hugging Face folder."""
    import torch
    from transformers import Qwen3ForCausalLM

    torch.manual_seed(0)
    Qwen3ForCausalLM(config(shape)).save_pretrained(folder)


def config(shape: ModelShape):  # type: ignore[no-untyped-def]  # transformers has no types
    """Return the model's configuration, with positions for 32k tokens."""
    from transformers import Qwen3Config

    return Qwen3Config(
        vocab_size=shape.vocabulary,
        hidden_size=shape.hidden_size,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.kv_heads,
        head_dim=shape.head_dim,
        intermediate_size=shape.intermediate_size,
        max_position_embeddings=32768,
        tie_word_embeddings=True,
        pad_token_id=0,
        eos_token_id=1,
        bos_token_id=None,
        dtype="float32",
    )


def long_tailed_lengths(rows: int, shortest: int, longest: int, seed: int) -> list[int]:
    """Return `rows` quantiles of a log-normal distribution, scaled to [shortest, longest], in random order."""
    normal = NormalDist()
    z = np.asarray([normal.inv_cdf((i + 0.5) / rows) for i in range(rows)])
    share = (z - z[0]) / (z[-1] - z[0])
    lengths = np.exp(math.log(shortest) + share * math.log(longest / shortest)).round().astype(int)
    return np.random.default_rng(seed).permutation(lengths).tolist()


def trajectories(
    rows: int, shortest: int, longest: int, vocabulary: int, prompt: tuple[int, int], seed: int = 0
) -> tuple[TrajectoryBatch, Float32]:
    """Return trajectories with 0 to 5 calls each, and their advantages [rows], of which none is 0.

    Output lengths are long-tailed between `shortest` and `longest` tokens. Prompt lengths are uniform over the bounds of
    `prompt`, both included.
    """
    rng = np.random.default_rng(seed)
    lengths = long_tailed_lengths(rows, shortest, longest, seed)
    batch = TrajectoryBatch.of([_trajectory(rng, length, vocabulary, prompt) for length in lengths])
    signs = np.where(np.arange(rows) % 2 == 0, 1.0, -1.0)
    return batch, (signs * rng.uniform(0.3, 1.5, rows)).astype(np.float32)


def _trajectory(rng: np.random.Generator, length: int, vocabulary: int, prompt: tuple[int, int]) -> Trajectory:
    sources = np.zeros(length, np.uint8)
    calls = []
    for _ in range(int(rng.integers(0, MAX_CALLS + 1))):
        start = int(rng.integers(1, length))
        written = min(round(math.exp(rng.uniform(0.0, math.log(40)))), length - start)
        sources[start : start + written] = Source.TEACHER
        calls.append(Call(start, written, written, 0.1, CallEnding.COMPLETED, written))
    student = sources == Source.STUDENT
    return Trajectory(
        prompt_ids=_tokens(rng, int(rng.integers(prompt[0], prompt[1] + 1)), vocabulary),
        token_ids=_tokens(rng, length, vocabulary),
        sources=sources,
        logprobs=np.where(student, -math.log(vocabulary) + rng.normal(0.0, 0.2, length), 0.0).astype(np.float32),
        versions=np.where(student, 0, -1).astype(np.int32),
        constrained=student & (rng.random(length) < CONSTRAINED_SHARE),
        calls=tuple(calls),
        rejected=RejectedCommands(),
        finish=Finish.STUDENT_END,
        text="",
    )


def _tokens(rng: np.random.Generator, count: int, vocabulary: int) -> Int32:
    return rng.integers(2, vocabulary, count).astype(np.int32)
