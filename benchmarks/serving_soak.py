"""Does a relay server lose, mix up or leak anything under load, while its replicas die and its student changes?

Many streams ask a real server for some minutes. Clients drop at random, the teacher's replica is killed twice, and the student's
weights change to another checkpoint and back. Then everything that was answered in full is asked again with the same seed, on the
quiet server under the same weights, and the usage of those answers is compared with the engines' own counters.
"""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil

from benchmarks.harness import Goal, Row, arguments, report

CLEAN = {429, 503, 504}
"""statuses of a refusal that says when, or why, to ask again"""
REQUEST_S = 120.0
NONE = Goal("value", "<=", 0.0)


@dataclass(slots=True)
class Asked:
    """One request and what became of it."""

    body: dict[str, Any]
    text: str = ""
    choice: dict[str, Any] | None = None
    """the key `relay` of a finished answer"""
    ending: str = "lost"

    @property
    def version(self) -> int | None:
        """Policy version, if one wrote the whole answer without a failed call and its teacher was there."""
        if self.choice is None or self.choice["teacher"] != "on" or len(self.choice["policy_versions"]) != 1:
            return None
        if any(call["ending"] == "failed" for call in self.choice["calls"]):
            return None
        return int(self.choice["policy_versions"][0])

    @property
    def result(self) -> tuple[str, list[dict[str, Any]]]:
        """The text, and who wrote what."""
        assert self.choice is not None
        return self.text, self.choice["spans"]


@dataclass(slots=True)
class Storm:
    """All requests of the load."""

    url: str
    model: str
    questions: Sequence[str]
    draw: random.Random
    asked: list[Asked] = field(default_factory=list)

    def body(self) -> dict[str, Any]:
        """Return the next request."""
        return {
            "model": self.model,
            "messages": [{"role": "user", "content": self.draw.choice(self.questions)}],
            "max_tokens": self.draw.choice((24, 48, 80)),
            "temperature": 1.0,
            "seed": len(self.asked),
            "stream": self.draw.random() < 0.8,
        }

    async def run(self, client: httpx.AsyncClient, until_s: float) -> None:
        """Ask one thing after another until that time."""
        while time.monotonic() < until_s:
            one = Asked(self.body())
            self.asked.append(one)
            drops = self.draw.random() < 0.15
            try:
                async with asyncio.timeout(self.draw.uniform(0.01, 0.4) if drops else REQUEST_S):
                    await ask(client, self.url, one)
            except TimeoutError:
                one.ending = "dropped" if drops else "hanging"
            except httpx.HTTPError as error:
                one.ending = f"connection: {error!r:.80}"


async def ask(client: httpx.AsyncClient, url: str, one: Asked) -> None:
    """Send a request and note its answer. Raises `httpx.HTTPError` if the connection breaks."""
    async with client.stream("POST", f"{url}/v1/chat/completions", json=one.body) as response:
        if response.is_error:
            await response.aread()
            named = "error" in response.json() and response.status_code in CLEAN
            one.ending = "refused" if named else f"status {response.status_code}: {response.text[:80]}"
            if named:
                await asyncio.sleep(0.2)
            return
        if not one.body["stream"]:
            await response.aread()
            choice = response.json()["choices"][0]
            one.text, one.choice, one.ending = choice["message"]["content"], choice["relay"], "answered"
            return
        async for line in response.aiter_lines():
            if not line.startswith("data: ") or line == "data: [DONE]":
                continue
            part = json.loads(line[len("data: ") :])
            if "error" in part:
                one.ending = "refused" if part["error"]["code"] == "model_unavailable" else f"error {part['error']}"
                return
            for choice in part["choices"]:
                one.text += choice["delta"].get("content") or ""
                if choice.get("finish_reason"):
                    one.choice, one.ending = choice["relay"], "answered"


def process_of(name: str) -> psutil.Process | None:
    """Return the process of a deployment's replica; None if there is none at this moment."""
    return next(
        (one for one in psutil.process_iter() if f":{name}" in _title(one) and "ServeReplica" in _title(one)), None
    )


def _title(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


async def disturbances(url: str, other: str, own: str, seconds: float) -> list[int]:
    """Kill the teacher twice and change the student twice. Return the versions of the changes."""
    versions: list[int] = []
    async with httpx.AsyncClient(timeout=REQUEST_S) as client:
        for what in ("teacher", other, "teacher", own):
            await asyncio.sleep(seconds / 5)
            if what == "teacher":
                while (process := process_of("teacher")) is None:
                    await asyncio.sleep(0.5)
                process.kill()
                continue
            taken = await client.post(f"{url}/admin/student", json={"path": what})
            taken.raise_for_status()
            versions.append(taken.json()["policy_version"])
    return versions


async def storm(load: Storm, streams: int, seconds: float, changes: tuple[str, str] | None = None) -> list[int]:
    """Load the server. With `changes`, disturb it; return the versions of the two changes of the student."""
    limits = httpx.Limits(max_connections=streams, max_keepalive_connections=streams)
    async with httpx.AsyncClient(timeout=REQUEST_S, limits=limits) as client, asyncio.TaskGroup() as group:
        until_s = time.monotonic() + seconds
        for _ in range(streams):
            group.create_task(load.run(client, until_s))
        disturbing = None if changes is None else group.create_task(disturbances(load.url, *changes, seconds))
    return [] if disturbing is None else disturbing.result()


async def again(url: str, asked: Sequence[Asked], streams: int) -> list[Asked]:
    """Ask the same things on the quiet server; return their answers in order."""
    repeated = [Asked(one.body) for one in asked]
    waiting = iter(repeated)

    async def run(client: httpx.AsyncClient) -> None:
        for one in waiting:
            await ask(client, url, one)

    async with httpx.AsyncClient(timeout=REQUEST_S) as client, asyncio.TaskGroup() as group:
        for _ in range(streams):
            group.create_task(run(client))
    return repeated


@dataclass(frozen=True, slots=True)
class Held:
    """What a replica's process holds."""

    mib: float
    descriptors: int


def held(names: Sequence[str]) -> dict[str, Held]:
    """Return what the replicas hold."""
    processes = {name: process_of(name) for name in names}
    return {
        name: Held(one.memory_info().rss / 2**20, one.num_fds()) for name, one in processes.items() if one is not None
    }


def rows_of(
    load: Storm, versions: Sequence[int], repeated: Mapping[int, tuple[list[Asked], list[Asked]]]
) -> Iterator[Row]:
    """Yield the rows about answers."""
    endings = Counter(one.ending if one.ending in ("answered", "refused", "dropped") else "wrong" for one in load.asked)
    for ending in ("answered", "refused", "dropped"):
        yield Row(f"requests {ending}", "", [endings[ending]])
    yield Row("requests that ended in another way", "", [endings["wrong"]], goal=NONE)
    alone = sum(one.choice is not None and one.choice["teacher"] == "away" for one in load.asked)
    yield Row("answered by the student alone, and said so", "", [alone])
    for version, (first, second) in repeated.items():
        differ = [
            (old, new) for old, new in zip(first, second, strict=True) if new.choice is None or old.result != new.result
        ]
        what = f"under version {version}" if version in versions else "under the first weights"
        yield Row(f"asked again, {what}", "", [len(first)])
        yield Row(f"of these with another text or another writer, {what}", "", [len(differ)], goal=NONE)


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument(
        "--run", type=Path, default=Path("runs/demo"), help="a finished run, with the model after its warm-up"
    )
    parser.add_argument("--streams", type=int, default=64)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    from ray import serve

    from pipelines.serving.server import running_server
    from pipelines.serving.target import server_settings

    settings = server_settings(options.run, ["http.port=0", "outage.probe_s=1"])
    own, other = settings.student.path, str(options.run / "stages" / "warmup" / "model")
    seconds = 30.0 if options.quick else 60 * options.minutes
    names = ("ingress", "student")  # the teacher's process is another one at the end

    def engine(name: str, method: str) -> Any:
        handle = serve.get_deployment_handle(name, settings.name)
        return getattr(handle, method).remote().result(timeout_s=60)

    with running_server(settings) as url:
        warm = Storm(url, settings.name, settings.examples, random.Random(options.seed + 1))
        asyncio.run(storm(warm, options.streams, seconds / 10))
        before = held(names)
        load = Storm(url, settings.name, settings.examples, random.Random(options.seed))
        versions = asyncio.run(storm(load, options.streams, seconds, (other, own)))
        time.sleep(5)
        left = {name: engine(name, "unfinished") for name in ("student", "teacher")}
        repeated: dict[int, tuple[list[Asked], list[Asked]]] = {}
        used: Counter[str] = Counter()
        counted: Counter[str] = Counter()
        # The last weights are the first ones under another version, so what was written under either can be asked again now.
        for version, path in ((versions[1], None), (0, None), (versions[0], other)):
            first = [one for one in load.asked if one.version == version]
            if path is not None:
                httpx.post(f"{url}/admin/student", json={"path": path}, timeout=REQUEST_S).raise_for_status()
            start = {name: engine(name, "load").generated_tokens for name in ("student", "teacher")}
            second = asyncio.run(again(url, first, options.streams))
            for name in start:
                counted[name] += engine(name, "load").generated_tokens - start[name]
                used[name] += sum(one.choice["usage"][name]["written_tokens"] for one in second if one.choice)
            repeated[version] = (first, second)
        after = held(names)
        rows = [
            *rows_of(load, versions, repeated),
            *(Row(f"turns left in the {name}'s engine", "", [count], goal=NONE) for name, count in left.items()),
            *(
                Row(
                    f"{name}'s tokens: usage of the answers less the engine's count",
                    "",
                    [abs(used[name] - counted[name])],
                    goal=NONE,
                )
                for name in sorted(used)
            ),
            *(
                Row(f"memory of the {name} replica: growth", "MiB", [after[name].mib - before[name].mib])
                for name in names
            ),
            *(
                Row(
                    f"descriptors of the {name} replica: growth",
                    "",
                    [after[name].descriptors - before[name].descriptors],
                )
                for name in names
            ),
        ]
    wrong = Counter(one.ending for one in load.asked if one.ending not in ("answered", "refused", "dropped"))
    notes = [
        f"{options.streams} streams for {seconds:g} s, seed {options.seed}",
        "the student changes to the one after the run's warm-up, and back",
        *(f"{count} ×: {ending}" for ending, count in wrong.most_common(5)),
    ]
    report("serving_soak", rows, options, notes)


if __name__ == "__main__":
    main()
