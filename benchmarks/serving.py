"""How fast is the relay server beside vLLM's own server, and how long does a call take?

Both servers run at the same time, and are loaded in turn: with the student alone, by the same client and the same requests. A
call is timed at the client, from the chunk that says that it began to the first chunk with teacher text. It is compared with
the teacher's first token at vLLM's own server, for a prompt that its prefix cache holds.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import httpx

from benchmarks._streaming_client import Load, load
from benchmarks.harness import RUNS, Goal, Row, arguments, paired, report
from cluster.devices import Device, engine_environment
from cluster.ports import free_port

STREAMS = (1, 16, 64)
START_S = 300.0
FIRST_TOKEN = Goal("ratio", "<=", 1.15)
THROUGHPUT = Goal("ratio", ">=", 0.9)
CALL = Goal("ratio", "<=", 1.5)
THEIRS, OURS = "vLLM's server", "relay server"


@contextmanager
def serving(command: Sequence[str], port: int, environment: dict[str, str]) -> Iterator[str]:
    """Run a server until the block ends; yield its address when it is up. Raises `RuntimeError` if it does not come up."""
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(command, env=os.environ | environment, stdout=log, stderr=subprocess.STDOUT)
        try:
            url = f"http://127.0.0.1:{port}"
            deadline = time.monotonic() + START_S
            while not _answers(f"{url}/health"):
                if process.poll() is not None or time.monotonic() > deadline:
                    log.seek(0)
                    raise RuntimeError(f"{' '.join(command)} did not come up:\n{log.read()[-3000:].decode()}")
                time.sleep(0.5)
            yield url
        finally:
            process.terminate()
            process.wait(timeout=60)


def vllm_server(model: dict[str, Any], engine: dict[str, Any], port: int) -> list[str]:
    """Return the command of vLLM's own server for a model, with the settings of our engine."""
    return [
        *(sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--host", "127.0.0.1", "--port", str(port)),
        *("--model", model["path"], "--served-model-name", "model", "--dtype", engine["dtype"]),
        *("--max-model-len", str(engine["max_model_len"]), "--max-num-seqs", str(engine["max_num_seqs"])),
        *(
            "--block-size",
            str(engine["block_size"]),
            "--kv-cache-memory-bytes",
            str(int(engine["kv_cache_gib"] * 2**30)),
        ),
        *("--enforce-eager", "--no-enable-chunked-prefill", "--no-enable-log-requests", "--disable-log-stats"),
        *("--generation-config", "vllm", "--disable-uvicorn-access-log"),
    ]


def requests_of(model: str, questions: Sequence[str], count: int, tokens: int) -> list[dict[str, Any]]:
    """Return so many chats, with the questions in turn and seeds of their own."""
    return [
        {
            "model": model,
            "messages": [{"role": "user", "content": questions[i % len(questions)]}],
            "max_tokens": tokens,
            "temperature": 1.0,
            "seed": i,
        }
        for i in range(count)
    ]


def compared(
    urls: dict[str, str],
    models: dict[str, str],
    questions: Sequence[str],
    loads: Sequence[int],
    tokens: int,
    runs: int,
) -> list[Row]:
    """Return the rows of both servers with the student alone: time to first token and tokens per second."""
    rows: list[Row] = []
    for streams in loads:
        count = max(2 * streams, 16)
        found: dict[str, list[Load]] = {name: [] for name in urls}

        def one(name: str, streams: int = streams, count: int = count, found: dict[str, list[Load]] = found) -> float:
            result = load(urls[name], requests_of(models[name], questions, count, tokens), streams)
            found[name].append(result)
            return result.first_token_s * 1000

        names = {name: f"{name}, {streams} streams" for name in urls}
        goal = {f"{names[OURS]}, first token": FIRST_TOKEN}
        rows += paired({f"{names[name]}, first token": partial(one, name) for name in urls}, "ms", runs, 1, goal)
        speeds = {name: [result.tokens_per_s for result in results[-runs:]] for name, results in found.items()}
        ratios = [ours / theirs for ours, theirs in zip(speeds[OURS], speeds[THEIRS], strict=True)]
        baseline = f"{names[THEIRS]}, throughput"
        rows += [
            Row(baseline, "tokens/s", speeds[THEIRS]),
            Row(f"{names[OURS]}, throughput", "tokens/s", speeds[OURS], ratios, baseline, THROUGHPUT),
        ]
    return rows


def calls(ours: str, teacher: str, name: str, questions: Sequence[str], tokens: int, runs: int) -> list[Row]:
    """Return the rows of a call and of the teacher's own first token, one stream at a time."""
    found: list[float] = []
    own: list[float] = []
    for _ in range(runs):
        relayed = load(ours, requests_of(name, questions, 16, tokens), 1)
        if not relayed.calls_s:
            raise RuntimeError(f"{name} made no call in 16 answers: give a run whose student calls")
        found.append(median(relayed.calls_s) * 1000)
        bodies = [{**body, "max_tokens": 4} for body in requests_of("model", questions, 16, tokens)]
        load(teacher, bodies, 1)  # fills the prefix cache
        own.append(load(teacher, bodies, 1).first_token_s * 1000)
    baseline = "the teacher's own first token, warm prefix"
    ratios = [call / first for call, first in zip(found, own, strict=True)]
    return [Row(baseline, "ms", own), Row("a call, until its first token", "ms", found, ratios, baseline, CALL)]


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=5.0).is_success
    except httpx.HTTPError:
        return False


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument(
        "--server",
        type=Path,
        default=Path("runs/demo"),
        help="a finished run, or a server's file; no calls without a teacher",
    )
    parser.add_argument("--tokens", type=int, default=48, help="most tokens of an answer")
    parser.add_argument("--streams", type=int, nargs="+", default=STREAMS, help="how many answers at a time")
    options = parser.parse_args()
    runs = 1 if options.quick else RUNS
    ports = [free_port() for _ in range(3)]
    with ExitStack() as ends:
        command = [sys.executable, "-m", "pipelines", "serve", str(options.server), "--port", str(ports[0])]
        ours = ends.enter_context(serving(command, ports[0], {}))
        about = httpx.get(f"{ours}/v1/models").json()["data"][0]
        settings = httpx.get(f"{ours}/admin/settings").json()
        environment = engine_environment(Device.CPU, settings["engine_threads"])
        servers = []
        roles = [
            role for role in ("student", "teacher") if settings[role] is not None and settings[role]["path"] is not None
        ]
        for role, port in zip(roles, ports[1:], strict=False):
            command = vllm_server(settings[role], settings[role]["engine"], port)
            servers.append(ends.enter_context(serving(command, port, environment)))
        name, questions = about["id"], about["relay"]["examples"]
        urls, models = {THEIRS: servers[0], OURS: ours}, {THEIRS: "model", OURS: f"{name}/student"}
        rows = compared(urls, models, questions, options.streams, options.tokens, runs)
        if "teacher" in roles:
            rows += calls(ours, servers[1], name, questions, options.tokens, runs)
    notes = [f"{role} of the server {settings['name']!r}: {settings[role]['engine']['dtype']}" for role in roles]
    notes.append(f"at most {options.tokens} tokens an answer; client and all servers share the machine's cores")
    report("serving", rows, options, notes)


if __name__ == "__main__":
    main()
