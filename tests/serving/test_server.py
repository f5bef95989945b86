"""The real server, asked by the official client and by curl."""

import asyncio
import json
import subprocess
import time
from collections.abc import Callable
from typing import Any

import httpx
import openai
import pytest

from tests.serving.conftest import CALLS, ENDLESS, KEY, Server
from tests.serving.stack import STUDENT

pytestmark = [pytest.mark.slow, pytest.mark.ray, pytest.mark.timeout(600)]


def asked(server: Server, question: str = CALLS, **keys: Any) -> Any:
    """Return the answer of the official client."""
    relay = keys.pop("relay", {})
    return server.client().chat.completions.create(
        model=keys.pop("model", server.settings.name),
        messages=[{"role": "user", "content": question}],
        extra_body={"relay": relay},
        **{"temperature": 0.0} | keys,
    )


def eventually(holds: Callable[[], bool], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(0.2)


def kill(deployment: str) -> None:
    """Kill the replica of a deployment."""
    import ray

    for found in ray.util.list_named_actors(all_namespaces=True):
        if f"#{deployment}#" in found["name"]:
            ray.kill(ray.get_actor(found["name"], namespace=found["namespace"]))


def test_usage_adds_up_to_the_engines_own_counters(server: Server) -> None:
    before = [server.engine(name, "load") for name in ("student", "teacher")]
    answer = asked(server, n=2, temperature=1.0, seed=3)
    after = [server.engine(name, "load") for name in ("student", "teacher")]
    for choice in answer.choices:
        assert choice.relay["calls"][0]["written"] > 0
        assert choice.relay["spans"][0]["writer"] == "teacher"
    for name, old, new in zip(("student", "teacher"), before, after, strict=True):
        used = [choice.relay["usage"][name] for choice in answer.choices]
        assert sum(one["written_tokens"] for one in used) == new.generated_tokens - old.generated_tokens
        assert sum(one["prompt_tokens"] for one in used) == new.prompt_tokens - old.prompt_tokens
        assert sum(one["cached_tokens"] for one in used) == new.cached_prompt_tokens - old.cached_prompt_tokens


async def test_a_seed_gives_equal_answers_streamed_and_plain_also_beside_others(server: Server) -> None:
    keys: dict[str, Any] = {"temperature": 1.0, "seed": 11, "n": 2}
    plain = await asyncio.to_thread(asked, server, **keys)
    client = openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key=KEY, max_retries=0, timeout=120)

    async def streamed() -> list[str]:
        texts = ["", ""]
        stream = await client.chat.completions.create(
            model=server.settings.name,
            messages=[{"role": "user", "content": CALLS}],
            stream=True,
            stream_options={"include_usage": True},
            **keys,
        )
        async for chunk in stream:
            for choice in chunk.choices:
                texts[choice.index] += choice.delta.content or ""
        assert chunk.usage is not None and chunk.usage.completion_tokens == plain.usage.completion_tokens
        return texts

    found = await asyncio.gather(*(streamed() for _ in range(4)))
    assert found == [[choice.message.content for choice in plain.choices]] * 4


def test_curl_sees_text_by_writer_and_then_done(server: Server) -> None:
    body = {
        "model": server.settings.name,
        "messages": [{"role": "user", "content": CALLS}],
        "stream": True,
        "temperature": 0,
    }
    command = ["curl", "-sN", f"{server.url}/v1/chat/completions", "-H", "content-type: application/json"]
    command += ["-H", f"authorization: Bearer {KEY}"]
    said = subprocess.run([*command, "-d", json.dumps(body)], capture_output=True, text=True, timeout=120).stdout
    *events, done = [event.removeprefix("data: ") for event in said.strip().split("\n\n")]
    assert done == "[DONE]"
    writers = {
        choice["relay"].get("writer")
        for event in events
        for choice in json.loads(event)["choices"]
        if "relay" in choice
    }
    assert {"student", "teacher"} <= writers


def test_text_arrives_while_it_is_written(server: Server) -> None:
    arrivals = [chunk for chunk in asked(server, ENDLESS, stream=True, model=f"{server.settings.name}/student")]
    assert len(arrivals) > 20


def test_the_models_alone(server: Server) -> None:
    teacher = asked(server, model=f"{server.settings.name}/teacher")
    student = asked(server, model=f"{server.settings.name}/student")
    assert teacher.relay["call_ratio"] == 1.0
    assert student.relay["call_ratio"] == 0.0


def test_a_budget_and_a_stop_text_hold(server: Server) -> None:
    whole = asked(server).choices[0].message.content
    few = asked(server, relay={"max_teacher_tokens": 2})
    assert few.relay["teacher_tokens"] == 2
    stopped = asked(server, stop=[whole[1]])
    assert stopped.choices[0].message.content == whole[: whole.index(whole[1])]
    assert stopped.choices[0].relay["stop_text"] == whole[1]


def test_a_client_that_goes_away_leaves_no_work_in_the_engines(server: Server) -> None:
    def cancelled() -> float:
        lines = server.http().get("/metrics").text.splitlines()
        return sum(float(line.split()[-1]) for line in lines if 'outcome="cancelled"' in line and "_total{" in line)

    before = cancelled()
    with asked(server, ENDLESS, stream=True, n=16) as stream:
        for chunk in stream:
            if chunk.choices[0].delta.content:
                break
    eventually(lambda: cancelled() == before + 1)
    eventually(lambda: server.engine("student", "unfinished") == server.engine("teacher", "unfinished") == 0, 10)


def test_a_plain_request_that_is_dropped_is_aborted_too(server: Server) -> None:
    body = {"messages": [{"role": "user", "content": ENDLESS}], "n": 64}
    with pytest.raises(httpx.ReadTimeout):
        server.http().post("/v1/chat/completions", json=body, timeout=httpx.Timeout(30, read=0.3))
    eventually(lambda: server.engine("student", "unfinished") == 0, 10)


def test_new_weights_come_without_dropping_a_stream(server: Server) -> None:
    stream = asked(server, ENDLESS, stream=True, n=8)
    first = next(iter(stream))
    taken = server.http().post("/admin/student", json={"path": STUDENT})
    assert taken.status_code == 200, taken.text
    version = taken.json()["policy_version"]
    finals = [one.choices[0] for one in [first, *stream] if one.choices[0].finish_reason]
    assert len(finals) == 8
    assert all(set(one.relay["policy_versions"]) <= {version - 1, version} for one in finals)
    new = asked(server)
    assert new.relay["policy_version"] == version
    assert new.relay["teacher_tokens"] == 0  # the base student does not call
    server.http().post("/admin/student", json={"path": str(server.student)}, timeout=120)
    again = asked(server)
    assert (again.relay["policy_version"], again.relay["teacher_tokens"] > 0) == (version + 1, True)
    listed = server.http().get("/v1/models").json()["data"]
    assert {model["relay"]["policy_version"] for model in listed} == {version + 1}


@pytest.mark.parametrize("path", ["nowhere", "/tmp"])
def test_weights_that_are_none_change_nothing(server: Server, path: str) -> None:
    refused = server.http().post("/admin/student", json={"path": path})
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "path")


def test_the_teachers_death_is_survived(server: Server) -> None:
    kill("teacher")
    answer = asked(server)
    assert answer.choices[0].finish_reason in ("stop", "length")
    eventually(lambda: asked(server).relay["teacher_tokens"] > 0)


def test_the_students_death_is_told_and_survived_with_the_newest_weights(server: Server) -> None:
    version = asked(server).relay["policy_version"]
    stream = asked(server, ENDLESS, stream=True, n=8)
    next(iter(stream))
    kill("student")
    with pytest.raises(openai.APIError):
        list(stream)

    def back() -> bool:
        answer = server.http().post("/v1/completions", json={"prompt": "1"}, timeout=120)
        return answer.status_code == 200 and answer.json()["relay"]["policy_version"] == version

    eventually(back)
