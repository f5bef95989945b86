"""How close does our packed forward and backward pass come to the GPU's speed of matrix multiplication?

A random model of Qwen3's shape takes the forward and backward pass of one GRPO step, in packs of up to 16k tokens. The
benchmark needs only PyTorch and transformers, not Ray, DeepSpeed or the rest of this project's environment.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import numpy as np
import torch
from torch import Tensor

from actors.learner.batches import PolicySequences, policy_sequences
from actors.learner.logprobs import Chunking
from actors.learner.losses import policy_terms, row_weights, target_counts
from actors.learner.model import ModelSpec, PackedCausalLM, load_model
from actors.learner.packing import PackedRows, pack, plan_micro_batches
from benchmarks.harness import RUNS, Row, arguments, report
from benchmarks.learning.memory import PeakMemory
from benchmarks.learning.workload import QWEN3_0_6B, QWEN3_1_7B, SMALL, TINY, ModelShape, config, trajectories

if TYPE_CHECKING:
    from actors.settings import GrpoLossSettings

SHAPES = {"1.7b": QWEN3_1_7B, "0.6b": QWEN3_0_6B, "small": SMALL, "tiny": TINY}
MIB, GIB = 2**20, 2**30


@dataclass(frozen=True, slots=True)
class Objective:
    """The defaults of `GrpoLossSettings`, repeated here because that class needs pydantic."""

    clip_low: float = 0.2
    clip_high: float = 0.2
    dual_clip: float | None = None
    tis_cap: float | None = None


def main() -> None:
    options = _options()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if device.type == "cpu" and not options.quick:
        print("gpu: this machine has no GPU; --quick runs the benchmark on the CPU at a tiny size", flush=True)
        return
    shape = SHAPES[options.model]
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    lengths = (4, 80) if options.quick else (192, 3840)
    batch, advantages = trajectories(options.rows, *lengths, shape.vocabulary, (8, 16) if options.quick else (64, 256))
    policy = policy_sequences(batch, advantages, np.ones(len(batch), np.bool_))
    memory = PeakMemory(device.type)
    model = _model(shape, dtype, device, Chunking(options.chunk_tokens, options.chunk_mib * MIB))
    if options.checkpointing:
        model.model.gradient_checkpointing_enable({"use_reentrant": False})
    difference = _difference_from_single_rows(model, policy, options.pack, device)
    packs = _packs(policy, options.pack, device)
    ceiling = _matmul_flops_per_s(256 if options.quick else 8192, dtype, device)
    tokens, flops = len(policy.sequences.token_ids), _flops(shape, policy)

    def step() -> None:
        for packed in packs:
            loss, *_ = model(packed, 1.0, _objective(policy, packed), True)
            loss.backward()
        model.zero_grad(set_to_none=False)

    seconds = _times(step, options.runs, device)
    rows = [
        Row("forward and backward of a step", "s", seconds),
        Row("throughput", "tokens/s", [tokens / value for value in seconds]),
        Row("multiplications of matrices, measured ceiling", "TFLOP/s", [ceiling / 1e12]),
        Row("MFU: model's FLOPs / time / ceiling", "%", [100 * flops / value / ceiling for value in seconds]),
        Row("peak memory: weights, gradients, activations", "GiB", [memory.bytes() / GIB]),
        Row("log-probs of packs against single rows, mean difference", "nats", [difference]),
    ]
    report("gpu", rows, options, _notes(options, shape, tokens, len(packs), dtype, model))


def _options() -> argparse.Namespace:
    parser = arguments(__doc__)
    parser.add_argument("--model", choices=sorted(SHAPES), help="shape of Qwen3; 1.7b by default, tiny with --quick")
    parser.add_argument("--pack", type=int, help="most tokens of a pack; 16384 by default")
    parser.add_argument("--rows", type=int, help="trajectories of the step; 32 by default")
    parser.add_argument("--runs", type=int, default=RUNS)
    parser.add_argument("--chunk-tokens", type=int, default=1024, help="same as learner.logprob_chunk_tokens")
    parser.add_argument("--chunk-mib", type=int, default=256, help="same as learner.logprob_chunk_mib")
    parser.add_argument("--checkpointing", action="store_true", help="same as learner.gradient_checkpointing")
    options = parser.parse_args()
    options.model = options.model or ("tiny" if options.quick else "1.7b")
    options.pack = options.pack or (256 if options.quick else 16384)
    options.rows = options.rows or (8 if options.quick else 32)
    return options


def _model(shape: ModelShape, dtype: torch.dtype, device: torch.device, chunking: Chunking) -> PackedCausalLM:
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder, device if device.type == "cuda" else nullcontext():
        config(shape).save_pretrained(folder)
        return load_model(ModelSpec(folder, initialise=True), dtype, device, chunking).train()


def _packs(policy: PolicySequences, max_tokens: int, device: torch.device) -> list[PackedRows]:
    sequences = policy.sequences
    (plan,) = plan_micro_batches(np.diff(sequences.offsets), 1, max_tokens)
    return [pack(sequences, rows, device) for rows in plan]


def _objective(policy: PolicySequences, packed: PackedRows) -> Callable[[Tensor, slice], Tensor]:
    """Return the clipped objective, as a mean over all trained tokens of the step."""
    everything = np.arange(len(policy.sequences))
    weight = row_weights(target_counts(policy.sequences, everything), "token_mean")

    def on_device(values: np.ndarray) -> Tensor:
        return torch.from_numpy(values).to(packed.targets.device, non_blocking=True)

    behaviour = on_device(policy.behaviour_logprobs[packed.target_columns])
    advantages = on_device(policy.advantages[packed.target_rows])
    weights = on_device(weight[packed.target_rows])

    def objective(logprobs: Tensor, part: slice) -> Tensor:
        terms = policy_terms(
            logprobs, behaviour[part], behaviour[part], advantages[part], cast("GrpoLossSettings", Objective())
        )
        return (terms.loss * weights[part]).sum()

    return objective


@torch.no_grad()
def _difference_from_single_rows(
    model: PackedCausalLM, policy: PolicySequences, max_tokens: int, device: torch.device
) -> float:
    """Return the mean absolute difference, in nats, between the targets' log-probs in packs and in rows processed alone."""
    scores = []
    for limit in (max_tokens, 1):
        of_tokens = torch.zeros(len(policy.sequences.token_ids), device=device)
        for packed in _packs(policy, limit, device):
            _, logprobs, _ = model(packed, 1.0)
            of_tokens[torch.from_numpy(packed.target_columns).to(device)] = logprobs
        scores.append(of_tokens)
    trained = int(policy.sequences.loss_mask.sum())
    return float((scores[0] - scores[1]).abs().sum() / trained)


def _flops(shape: ModelShape, policy: PolicySequences) -> float:
    """Return the FLOPs of forward and backward pass: three times those of the forward pass's matrix products.

    Of causal attention, only the unmasked half counts. Of the LM head, only the trained positions count. Recomputed
    activations do not count.
    """
    width, of_heads = shape.hidden_size, shape.heads * shape.head_dim
    of_layer = width * (2 * of_heads + 2 * shape.kv_heads * shape.head_dim) + 3 * width * shape.intermediate_size
    lengths = np.diff(policy.sequences.offsets).astype(np.float64)
    layers = 2 * shape.layers * (of_layer * lengths.sum() + of_heads * (lengths**2).sum())
    head = 2 * width * shape.vocabulary * float(policy.sequences.loss_mask.sum())
    return float(3 * (layers + head))


def _matmul_flops_per_s(size: int, dtype: torch.dtype, device: torch.device) -> float:
    """Return the highest measured FLOP/s of a product of two square matrices."""
    left, right = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    return 2 * size**3 / min(_times(lambda: left @ right, 10, device))


def _times(action: Callable[[], object], runs: int, device: torch.device) -> list[float]:
    """Return the seconds of each of `runs` runs. A first run is not counted."""
    seconds = []
    for _ in range(runs + 1):
        if device.type == "cuda":
            torch.cuda.synchronize()
        started = time.perf_counter()
        action()
        if device.type == "cuda":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - started)
    return seconds[1:]


def _notes(
    options: argparse.Namespace, shape: ModelShape, tokens: int, packs: int, dtype: torch.dtype, model: PackedCausalLM
) -> list[str]:
    parameters = sum(parameter.numel() for parameter in model.parameters())
    attention = model.model.config._attn_implementation
    return [
        f"Qwen3-{options.model}: {shape.layers} layers of {shape.hidden_size}, vocabulary {shape.vocabulary:,}, "
        f"{parameters / 1e6:,.0f} million random parameters in {str(dtype).removeprefix('torch.')}.",
        f"{options.rows} trajectories of long-tailed lengths, {tokens:,} tokens in {packs} packs of up to {options.pack:,}; "
        f"attention: {attention}; gradient checkpointing: {'on' if options.checkpointing else 'off'}.",
        "No optimizer step.",
    ]


if __name__ == "__main__":
    main()
