"""How much slower is sampling if every turn has a seed of its own?

vLLM draws the tokens of all requests without a seed together, but those of requests with a seed one by one.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import Callable
from itertools import count
from pathlib import Path
from time import perf_counter

from actors.engines.base import GenerationRequest
from actors.engines.vllm import VllmEngine
from actors.settings import EngineSettings, SamplingSettings
from actors.tiny_models import TinyModelSettings
from benchmarks._relay_actors import write_model
from benchmarks.harness import RUNS, arguments, paired, report
from benchmarks.relay import BLOCK, STEPS, TOKENS
from cluster.devices import Device, engine_environment

STUDENTS = {"demo's student": STEPS.student, "53 M parameters": TOKENS.student}
THREADS = 1
"""threads of the engine, as in the demo"""
SLOTS = 192
"""sequences that are decoded at the same time, as in the demo"""
TOKENS_EACH = 64
PROMPT = list(range(5, 21))


def main() -> None:
    options = arguments(__doc__).parse_args()
    os.environ.update(engine_environment(Device.CPU, THREADS))
    slots, tokens, runs = (8, 8, 1) if options.quick else (SLOTS, TOKENS_EACH, RUNS)
    rows = []
    for name, student in STUDENTS.items():
        with tempfile.TemporaryDirectory() as folder:
            engine = _engine(Path(folder), student, slots)
            try:
                contestants = {
                    f"{name}, the engine's own random numbers": _decoding(engine, slots, tokens, seeded=False),
                    f"{name}, a seed for each request": _decoding(engine, slots, tokens, seeded=True),
                }
                rows += paired(contestants, "µs a token", runs)
            finally:
                engine.shutdown()
    report("seeded_sampling", rows, options, [f"{slots} requests at the same time, {tokens} tokens each at most."])


def _engine(folder: Path, student: TinyModelSettings, slots: int) -> VllmEngine:
    settings = EngineSettings(dtype="float32", max_model_len=128, max_num_seqs=slots, block_size=BLOCK)
    return VllmEngine(write_model(folder, student), settings, Device.CPU, seed=0)


def _decoding(engine: VllmEngine, slots: int, tokens: int, seeded: bool) -> Callable[[], float]:
    """Return a contestant whose value is the µs for each token that the engine writes."""
    seeds = count()

    def run() -> float:
        requests = [
            GenerationRequest(
                PROMPT, tokens, SamplingSettings(), want_logprobs=True, seed=next(seeds) if seeded else None
            )
            for _ in range(slots)
        ]
        started = perf_counter()
        written = asyncio.run(_generate(engine, requests))
        return (perf_counter() - started) / written * 1e6

    return run


async def _generate(engine: VllmEngine, requests: list[GenerationRequest]) -> int:
    turns = await asyncio.gather(*map(engine.generate, requests))
    return sum(len(turn.token_ids) for turn in turns)


if __name__ == "__main__":
    main()
