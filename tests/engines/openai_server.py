"""Servers to test HTTP teachers with: a stand-in that misbehaves as a test says, and vLLM's own."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from cluster.devices import Device, engine_environment
from cluster.ports import free_port

ROOT = Path(__file__).parents[2]
_START_S = 240.0


@dataclass(frozen=True)
class Reply:
    """One HTTP answer. `hang` never ends it; `cut` closes the socket after the body, before the promised length."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    hang: bool = False
    cut: bool = False


@dataclass
class StandIn:
    """A server on the loopback interface. `answer` makes a reply of a path and a body."""

    answer: Callable[[str, dict[str, Any]], Reply]
    url: str = ""
    seen: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    hung_up: asyncio.Event = field(default_factory=asyncio.Event)
    reached: asyncio.Event = field(default_factory=asyncio.Event)

    def bodies(self, path: str = "/v1/completions") -> list[dict[str, Any]]:
        return [body for at, body in self.seen if at == path]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                length = next(
                    (int(line.split(":")[1]) for line in head.lower().split("\r\n") if "content-length" in line), 0
                )
                content = await reader.readexactly(length)
                path = head.split(" ")[1]
                body = json.loads(content) if content else {}
                self.seen.append((path, body))
                self.times.append(time.monotonic())
                self.reached.set()
                reply = self.answer(path, body)
                headers = {"Content-Type": "application/json", **reply.headers}
                promised = len(reply.body) + (1000 if reply.cut or reply.hang else 0)
                lines = [
                    f"HTTP/1.1 {reply.status} X",
                    *(f"{k}: {v}" for k, v in headers.items()),
                    f"Content-Length: {promised}",
                ]
                writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + reply.body)
                await writer.drain()
                if reply.hang:
                    await reader.read()
                    self.hung_up.set()
                    return
                if reply.cut:
                    return
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


def in_turn(replies: Sequence[Reply]) -> Callable[[str, dict[str, Any]], Reply]:
    """Return the replies one after the other, the last one for ever; a list of models is unknown."""
    left = list(replies)

    def answer(path: str, body: dict[str, Any]) -> Reply:
        if path.endswith("/models"):
            return Reply(404, b"no such path")
        return left.pop(0) if len(left) > 1 else left[0]

    return answer


@asynccontextmanager
async def stand_in(answer: Callable[[str, dict[str, Any]], Reply]) -> AsyncIterator[StandIn]:
    """Run a stand-in during a block."""
    server = StandIn(answer)
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        task.add_done_callback(tasks.discard)
        await server.serve(reader, writer)

    listening = await asyncio.start_server(serve, "127.0.0.1", 0)
    server.url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}/v1"
    try:
        yield server
    finally:
        listening.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def json_reply(content: object, **options: Any) -> Reply:
    return Reply(body=json.dumps(content).encode(), **options)


def text_answer(
    text: str, finish: str | None = "length", prompt_tokens: int | None = None, chat: bool = False
) -> Reply:
    place: dict[str, Any] = {"message": {"role": "assistant", "content": text}} if chat else {"text": text}
    usage = None if prompt_tokens is None else {"prompt_tokens": prompt_tokens}
    return json_reply({"choices": [{**place, "finish_reason": finish}], "usage": usage})


def ids_answer(ids: Sequence[int], finish: str | None = "length") -> Reply:
    return json_reply({"choices": [{"text": "…", "token_ids": list(ids), "finish_reason": finish}]})


def stream(*choices: Mapping[str, Any], done: bool = True, **options: Any) -> Reply:
    events = [f"data: {json.dumps({'choices': [choice]})}\n\n" for choice in choices]
    return Reply(body="".join([*events, "data: [DONE]\n\n" if done else ""]).encode(), **options)


def run_with(
    answer: Callable[[str, dict[str, Any]], Reply], scenario: Callable[[StandIn], Awaitable[Any]]
) -> tuple[Any, StandIn]:
    """Run a scenario against a stand-in; return its result and the stand-in."""

    async def both() -> tuple[Any, StandIn]:
        async with stand_in(answer) as server:
            return await scenario(server), server

    return asyncio.run(both())


@contextmanager
def vllm_server(model: Path, name: str, *options: str, api_key: str | None = None) -> Iterator[str]:
    """Start vLLM's OpenAI server with a model folder, and yield its address when it answers."""
    port = free_port()
    environment = {**os.environ, **engine_environment(Device.CPU, threads=1), "VLLM_CPU_KVCACHE_SPACE": "1"}
    environment |= {"VLLM_ENABLE_V1_MULTIPROCESSING": "1", "PYTHONPATH": str(ROOT)}
    if api_key is not None:
        environment["VLLM_API_KEY"] = api_key
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", str(model)]
    command += ["--served-model-name", name, "--host", "127.0.0.1", "--port", str(port), "--dtype", "float32"]
    command += ["--max-model-len", "128", "--max-num-seqs", "64", "--block-size", "32", "--enforce-eager"]
    command += ["--enable-prompt-tokens-details", *options]
    log = model.parent / f"server-{port}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=subprocess.STDOUT, cwd=ROOT)
        try:
            _wait(process, port, log)
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            process.terminate()
            try:
                process.wait(timeout=30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _wait(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + _START_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        try:
            if httpx.get(f"http://127.0.0.1:{port}/health", timeout=2).status_code == 200:
                return
        except httpx.HTTPError:
            time.sleep(0.5)
    raise RuntimeError(f"vLLM's server did not start:\n{log.read_text(errors='replace')[-3000:]}")
