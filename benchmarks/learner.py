"""How much time and memory does a GRPO optimizer step take: with our learner, with the bare model, and with TRL's trainer?

Trajectories have long-tailed lengths. Our learner and TRL use the size of micro-batches that is fastest on this machine, or a
size that is almost as fast and takes less memory. TRL is optional (`pip install -e '.[bench]'`); without it, its rows are left
out.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.harness import RUNS, Goal, Row, arguments, paired, report
from benchmarks.learning.head import HeadMemory
from benchmarks.learning.worker import REPOSITORY, Order, Step, Worker, WorkerError
from benchmarks.learning.workload import SMALL, TINY, ModelShape, trajectories, write_model
from cluster.devices import Device, learner_environment

MIB = 2**20
HEAD_RUNS = 3
NAMES = {"ours": "our learner", "floor": "bare model, row by row", "trl": "TRL"}
NO_TRL = "TRL is not installed: pip install -e '.[bench]', or trl==1.16.0 and accelerate on PYTHONPATH"
EQUALLY_FAST = 1.2
"""sizes of micro-batches whose time is within this factor of the fastest count as equal; of these, the least memory wins"""


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), help="default: bfloat16 on GPUs, else float32")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)), help="threads of each contestant")
    parser.add_argument("--runs", type=int, default=RUNS)
    options = parser.parse_args()
    names = ["floor", "ours"]
    if importlib.util.find_spec("trl") is None or importlib.util.find_spec("accelerate") is None:
        print(NO_TRL, flush=True)
    else:
        names.append("trl")
    with tempfile.TemporaryDirectory(prefix="learner-benchmark-") as folder:
        order = _order(options, Path(folder))
        steps, chosen = _compare(names, order, options.runs, Path(folder))
    batch, _ = trajectories(order.rows, *order.lengths, order.shape.vocabulary, order.prompts)
    tokens = len(batch.prompt_ids) + len(batch.token_ids)
    rows = [*_speed_rows(steps, tokens), *_memory_rows(steps), *_head_rows(options, order)]
    report("learner", rows, options, _notes(order, tokens, steps, chosen))


def _order(options: argparse.Namespace, folder: Path) -> Order:
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    shape = TINY if options.quick else SMALL
    write_model(folder / "model", shape)
    return Order(
        contestant="floor",
        model=str(folder / "model"),
        shape=shape,
        rows=8 if options.quick else 32,
        lengths=(4, 80) if options.quick else (24, 480),
        prompts=(4, 16) if options.quick else (16, 64),
        dtype=options.dtype or ("bfloat16" if device == "cuda" else "float32"),
        device=device,
        threads=options.threads,
    )


def _compare(
    names: Sequence[str], order: Order, runs: int, folder: Path
) -> tuple[dict[str, list[Step]], dict[str, int]]:
    """Return the steps of each contestant by round, and each contestant's size of micro-batches."""
    steps: dict[str, list[Step]] = {name: [] for name in names}
    with ExitStack() as running:
        workers = {
            name: running.enter_context(Worker(replace(order, contestant=name), folder / f"{name}.log"))
            for name in names
        }
        chosen = {
            name: _fastest(name, workers[name], _candidates(name, order), order.device == "cuda") for name in names
        }

        def player(name: str) -> Callable[[], float]:
            def take() -> float:
                steps[name].append(workers[name].step(chosen[name]))
                return steps[name][-1].seconds

            return take

        paired({name: player(name) for name in names}, runs=runs, warmups=1)
    return {name: taken[1:] for name, taken in steps.items()}, chosen


def _candidates(name: str, order: Order) -> list[int]:
    """Return the sizes of micro-batches to try: tokens for our learner, rows for TRL."""
    if name == "floor":
        return [1]
    if name == "trl":
        return sorted({2, order.rows // 4, order.rows})
    longest = order.lengths[1] + order.prompts[1]
    return [longest, 2 * longest, 4 * longest, order.rows * longest]


def _fastest(name: str, worker: Worker, candidates: Sequence[int], on_gpu: bool) -> int:
    """Return the fastest size of micro-batches; of those that are equally fast, the one that takes least memory.

    On the CPU, sizes are compared by the CPU time of all threads. There is only one step of each, and other processes would
    distort its wall time.
    """
    if len(candidates) == 1:
        return candidates[0]
    tried = {}
    for candidate in candidates:
        _, counted = worker.step(candidate), worker.step(candidate)
        tried[candidate] = (counted.seconds if on_gpu else counted.cpu_seconds), counted.peak_bytes
        seconds, peak = tried[candidate]
        print(f"{name}, micro-batches of {candidate}: {seconds:.3f} s, {peak / MIB:.0f} MiB", flush=True)
    limit = EQUALLY_FAST * min(seconds for seconds, _ in tried.values())
    return min((size for size in candidates if tried[size][0] <= limit), key=lambda size: tried[size][1])


def _row(
    name: str,
    unit: str,
    values: Sequence[float],
    base: tuple[str, Sequence[float]] | None = None,
    goal: Goal | None = None,
) -> Row:
    """Return a row. With a baseline `base` (name and values), its ratios are taken round by round."""
    if base is None:
        return Row(name, unit, list(values), goal=goal)
    ratios = [value / of_base for value, of_base in zip(values, base[1], strict=True)]
    return Row(name, unit, list(values), ratios, base[0], goal)


def _speed_rows(steps: dict[str, list[Step]], tokens: int) -> list[Row]:
    def of(name: str, what: Callable[[Step], float]) -> tuple[str, list[float]]:
        return NAMES[name], [what(step) for step in steps[name]]

    seconds = {name: of(name, lambda step: step.seconds) for name in steps}
    cpu = {name: of(name, lambda step: step.cpu_seconds) for name in steps}
    speed = {name: of(name, lambda step: tokens / step.seconds) for name in steps}
    rows = [
        _row("step: bare model, row by row", "s", seconds["floor"][1]),
        _row("step: our learner", "s", seconds["ours"][1], seconds["floor"], Goal("ratio", "<=", 1.2)),
        _row("CPU time of a step: bare model", "s", cpu["floor"][1]),
        _row("CPU time of a step: our learner", "s", cpu["ours"][1], cpu["floor"]),
    ]
    if "trl" in steps:
        rows += [
            _row("CPU time of a step: TRL", "s", cpu["trl"][1], cpu["ours"]),
            _row("throughput: TRL", "tokens/s", speed["trl"][1]),
            _row("throughput: our learner", "tokens/s", speed["ours"][1], speed["trl"], Goal("ratio", ">=", 1.5)),
        ]
    else:
        rows.append(_row("throughput: our learner", "tokens/s", speed["ours"][1]))
    return rows


def _memory_rows(steps: dict[str, list[Step]]) -> list[Row]:
    peak = {name: [steps[name][-1].peak_bytes / MIB] for name in steps}
    rows = [_row("peak memory: bare model, row by row", "MiB", peak["floor"])]
    if "trl" in steps:
        rows.append(_row("peak memory: TRL", "MiB", peak["trl"]))
        rows.append(
            _row("peak memory: our learner", "MiB", peak["ours"], ("TRL", peak["trl"]), Goal("ratio", "<=", 0.7))
        )
    else:
        rows.append(_row("peak memory: our learner", "MiB", peak["ours"]))
    return rows


def _head_rows(options: argparse.Namespace, order: Order) -> list[Row]:
    """Return rows with the LM head's activation memory by size of the vocabulary.

    It should stay flat. Logits of all positions would grow with the vocabulary.
    """
    quick = options.quick
    request = {
        "vocabularies": [1000, 4000] if quick else [4_000, 16_000, 64_000, 150_000],
        "positions": 256 if quick else 1024,
        "width": 64 if quick else 256,
        "chunk_mib": 1 if quick else 8,
        "device": order.device,
        "threads": order.threads,
    }
    runs = [_head_memory(request, order) for _ in range(1 if quick else HEAD_RUNS)]

    def of(vocabulary: int) -> list[float]:
        return [run[vocabulary].activation_bytes / MIB for run in runs]

    smallest, *_, largest = runs[0]
    return [
        _row(
            f"head's activations, vocabulary {vocabulary:,} (all logits: {one.dense_bytes / MIB:.0f} MiB)",
            "MiB",
            of(vocabulary),
            None if vocabulary == smallest else (f"vocabulary {smallest:,}", of(smallest)),
            Goal("ratio", "<=", 1.2) if vocabulary == largest else None,
        )
        for vocabulary, one in runs[0].items()
    ]


def _head_memory(request: dict[str, Any], order: Order) -> dict[int, HeadMemory]:
    """Return the memory for each size of the vocabulary, all measured in one new process."""
    environment = learner_environment(Device.GPU if order.device == "cuda" else Device.CPU, order.threads)
    command = [sys.executable, "-m", "benchmarks.learning.head", json.dumps(request)]
    # By default glibc keeps some freed memory, and how much depends on earlier requests. This returns each chunk at once.
    environment |= {"MALLOC_MMAP_THRESHOLD_": str(MIB)}
    done = subprocess.run(command, cwd=REPOSITORY, env=os.environ | environment, capture_output=True, text=True)
    if done.returncode:
        raise WorkerError(done.stderr[-2000:])
    measured = [HeadMemory(**values) for values in json.loads(done.stdout.splitlines()[-1])]
    return {one.vocabulary: one for one in measured}


def _described(shape: ModelShape) -> str:
    return f"Qwen3 with {shape.layers} layers of {shape.hidden_size}, vocabulary {shape.vocabulary:,}, random weights"


def _notes(order: Order, tokens: int, steps: dict[str, list[Step]], chosen: dict[str, int]) -> list[str]:
    shortest, longest = order.lengths
    norms = ", ".join(f"{NAMES[name]} {taken[0].grad_norm:.4g}" for name, taken in steps.items())
    return [
        f"{_described(order.shape)}; {order.dtype} on {order.device}, {order.threads} threads, one rank, ZeRO stage 0.",
        f"{order.rows} trajectories, {tokens:,} tokens; outputs log-normal from {shortest} to {longest} tokens, 0 to 5 calls.",
        f"Our micro-batches have up to {chosen['ours']:,} tokens: of the sizes within 20 % of the fastest, the one with the "
        "least memory."
        + (f" TRL's have {chosen['trl']} rows, chosen alike; no gradient checkpointing." if "trl" in chosen else ""),
        "The bare model takes forward and backward passes only; the others also clip and take the AdamW step.",
        "Peak memory is counted from before the model was loaded: weights, gradients, optimizer, activations.",
        f"Gradient norms of the first step that counts: {norms}. The bare model has no clipping and no ratios.",
        *([] if "trl" in steps else [NO_TRL + "."]),
    ]


if __name__ == "__main__":
    main()
