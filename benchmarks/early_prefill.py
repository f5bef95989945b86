"""Does it pay to start the teacher's prefill when `<call>` appears, while the student still writes the number?

Two of vLLM's own servers stand for student and teacher. Measured is the time from `<call>` to the teacher's first token: the student
writes the rest of its command, then the teacher continues. The early contestant has asked the teacher for one token of the text
so far as soon as the student begins, so that the call finds its prefix in the cache.
"""

from __future__ import annotations

import asyncio
import random
import time
from contextlib import ExitStack
from pathlib import Path

import httpx

from benchmarks.harness import RUNS, Row, arguments, report
from benchmarks.serving import serving, vllm_server
from cluster.devices import Device, engine_environment
from cluster.ports import free_port

SHIPPED = Path(__file__).parents[1] / "pipelines/models/shipped"
NUMBER_TOKENS = 3
"""of the rest of a command: `12</call>`"""
TOLD_FIRST = 1
"""warm-up trials of each length"""


async def written(client: httpx.AsyncClient, url: str, ids: list[int], tokens: int) -> None:
    """Have a server write some tokens after these ids, and return when it is done."""
    asked = {"model": "model", "prompt": ids, "max_tokens": tokens, "temperature": 0, "ignore_eos": True}
    answer = await client.post(f"{url}/v1/completions", json=asked)
    answer.raise_for_status()


async def from_call_to_teacher_ms(
    client: httpx.AsyncClient, student: str, teacher: str, draws: random.Random, new: int, vocabulary: int, early: bool
) -> float:
    """Return the time of one call after `new` tokens that the teacher has not seen."""
    ids = [draws.randrange(10, vocabulary) for _ in range(new)]
    await written(client, student, ids, 1)  # the student has written this text, so it holds the prefix
    began = time.perf_counter()
    ahead = asyncio.create_task(written(client, teacher, ids, 1)) if early else None
    await written(client, student, [*ids, 11], NUMBER_TOKENS)
    await written(client, teacher, ids, 1)
    taken = time.perf_counter() - began
    if ahead is not None:
        await ahead
    return 1000 * taken


async def compared(student: str, teacher: str, lengths: list[int], vocabulary: int, runs: int) -> list[Row]:
    """Return two rows for each length; in each round both contestants come in a drawn order."""
    draws, rows = random.Random(0), []
    async with httpx.AsyncClient(timeout=300) as client:
        for new in lengths:
            taken: dict[bool, list[float]] = {False: [], True: []}
            for turn in range(-TOLD_FIRST, runs):
                for early in draws.sample([False, True], 2):
                    one = await from_call_to_teacher_ms(client, student, teacher, draws, new, vocabulary, early)
                    if turn >= 0:
                        taken[early].append(one)
            name = f"{new} new tokens"
            ratios = [ahead / late for ahead, late in zip(taken[True], taken[False], strict=True)]
            rows += [
                Row(f"{name}, at the call", "ms", taken[False]),
                Row(f"{name}, at `<call>`", "ms", taken[True], ratios, "at the call"),
            ]
    return rows


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--student", type=Path, default=next(SHIPPED.glob("*-student-*")))
    parser.add_argument("--teacher", type=Path, default=next(SHIPPED.glob("*-teacher-*")))
    parser.add_argument("--lengths", type=int, nargs="+", default=[16, 48], help="tokens that the teacher has not seen")
    parser.add_argument("--vocabulary", type=int, default=40, help="ids below this are drawn")
    parser.add_argument("--dtype", default="float32")
    options = parser.parse_args()
    engine = {"dtype": options.dtype, "max_model_len": max(options.lengths) + 64, "max_num_seqs": 16}
    engine |= {"block_size": 32, "kv_cache_gib": 0.5}
    environment = engine_environment(Device.CPU, 1)
    with ExitStack() as ends:
        urls = []
        for model in (options.student, options.teacher):
            port = free_port()
            command = vllm_server({"path": str(model)}, engine, port)
            urls.append(ends.enter_context(serving(command, port, environment)))
        runs = 2 if options.quick else 6 * RUNS
        rows = asyncio.run(compared(urls[0], urls[1], options.lengths, options.vocabulary, runs))
    notes = [
        f"student {options.student.name}, teacher {options.teacher.name}, {options.dtype}, one thread each; the rest of a "
        f"command is {NUMBER_TOKENS} tokens. Both servers and the client share the machine's cores.",
    ]
    report("early_prefill", rows, options, notes)


if __name__ == "__main__":
    main()
