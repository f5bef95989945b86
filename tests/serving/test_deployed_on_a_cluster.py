"""The server as Ray's own tools deploy it: on a cluster that runs already, with several replicas of each kind."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
import yaml

from cluster.ports import free_port
from tests.clusters import Cluster, cluster_of_its_own
from tests.serving.conftest import CALLS, KEY, KEYS
from tests.serving.stack import ENGINE, settings

pytestmark = [pytest.mark.slow, pytest.mark.ray, pytest.mark.timeout(900)]

START_S = 400
LONG = "12+34-56*78+90-12*34+56-78"
"""a question that fills more than one block of the prefix cache"""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with cluster_of_its_own(tmp_path_factory.mktemp("cluster")) as cluster:
        yield cluster


def server_file(folder: Path, student: Path) -> Path:
    """Write the file of a server with two replicas of each kind."""
    engine = ENGINE | {"max_model_len": 256}
    chosen = settings(
        name="relay",
        student={"path": str(student), "engine": engine, "replicas": 2},
        limits={"max_new_tokens": 200, "max_calls": 2, "teacher_timeout_s": 60.0},
        cpus_per_replica=0.25,
        ingress_replicas=2,
        start_timeout_s=START_S,
        guards={"keys": KEYS, "ledger": str(folder / "ledger.sqlite")},
    )
    data = chosen.model_dump(mode="json", exclude_unset=True)
    data["teacher"]["replicas"] = 2
    file = folder / "server.yaml"
    file.write_text(yaml.safe_dump(data))
    return file


@pytest.fixture(scope="module")
def url(cluster: Cluster, calling_student: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Return the address of a server that `serve deploy` started."""
    folder, port = tmp_path_factory.mktemp("deployed"), free_port()
    config = {
        "http_options": {"host": "127.0.0.1", "port": port},
        "applications": [
            {
                "name": "relay",
                "route_prefix": "/",
                "import_path": "pipelines.serving.application:build",
                "args": {"settings": str(server_file(folder, calling_student))},
            }
        ],
    }
    (folder / "serve-config.yaml").write_text(yaml.safe_dump(config))
    deployed = cluster.run("serve", "deploy", str(folder / "serve-config.yaml"), "--address", cluster.dashboard)
    assert deployed.returncode == 0, deployed.stderr
    url, deadline = f"http://127.0.0.1:{port}", time.monotonic() + START_S
    while not answers(url):
        assert (status := application(cluster))["status"] in ("NOT_STARTED", "DEPLOYING", "RUNNING"), status
        assert time.monotonic() < deadline, status
        time.sleep(5)
    yield url
    ended = cluster.run("serve", "shutdown", "--yes", "--address", cluster.dashboard)
    assert ended.returncode == 0, ended.stderr


def answers(url: str) -> bool:
    """Return whether a student answers. Before that Serve's proxy knows no route, or the ingress waits for a replica."""
    body = {"model": "relay/student", "max_tokens": 1, "messages": [{"role": "user", "content": CALLS}]}
    try:
        asked = httpx.post(
            f"{url}/v1/chat/completions", json=body, headers={"Authorization": f"Bearer {KEY}"}, timeout=60
        )
    except httpx.HTTPError:
        return False
    return asked.is_success


def application(cluster: Cluster) -> dict[str, Any]:
    """Return what `serve status` says of the server."""
    shown = cluster.run("serve", "status", "--address", cluster.dashboard)
    assert shown.returncode == 0, shown.stderr
    found: dict[str, Any] = yaml.safe_load(shown.stdout)["applications"].get("relay", {"status": "NOT_STARTED"})
    return found


@cache
def client_of(url: str) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{url}/v1", api_key=KEY, max_retries=0, timeout=120)


def asked(url: str, messages: list[dict[str, str]], **keys: Any) -> Any:
    return client_of(url).chat.completions.create(model="relay", messages=messages, temperature=1.0, **keys)  # type: ignore[call-overload]


def test_each_kind_has_its_replicas(cluster: Cluster, url: str) -> None:
    deployments = application(cluster)["deployments"]
    counts = {name: sum(one["replica_states"].values()) for name, one in deployments.items()}
    assert counts == {"ingress": 2, "student": 2, "teacher": 2, "weights": 1}


def test_a_seed_gives_the_same_answer_whichever_replicas_write_it(url: str) -> None:
    for question in (CALLS, "58+99"):
        answers = [asked(url, [{"role": "user", "content": question}], seed=7) for _ in range(8)]
        texts = {(one.choices[0].message.content, json.dumps(one.choices[0].relay["spans"])) for one in answers}
        assert len(texts) == 1
    (call, *_) = asked(url, [{"role": "user", "content": CALLS}], seed=7).choices[0].relay["calls"]
    assert call["written"] > 0


def test_a_conversation_finds_its_prefix_again(url: str) -> None:
    for i in range(6):
        messages = [{"role": "user", "content": f"{i}{LONG}"}]
        answer = asked(url, messages, seed=i).choices[0].message.content
        longer = [*messages, {"role": "assistant", "content": answer}, {"role": "user", "content": "58+99"}]
        assert asked(url, longer, seed=i).usage.prompt_tokens_details.cached_tokens > 0


def test_new_weights_reach_all_replicas(url: str, calling_student: Path) -> None:
    headers = {"Authorization": f"Bearer {KEY}"}
    told = httpx.post(f"{url}/admin/student", json={"path": str(calling_student)}, headers=headers, timeout=120)
    assert told.status_code == 200, told.text
    assert told.json()["replicas"] == 2
    version = told.json()["policy_version"]
    answers = [asked(url, [{"role": "user", "content": f"{i}+99"}]) for i in range(8)]
    assert {answer.choices[0].relay["policy_version"] for answer in answers} == {version}


def test_a_second_server_is_refused_and_the_first_goes_on(
    cluster: Cluster, url: str, calling_student: Path, tmp_path: Path
) -> None:
    second = Cluster(cluster.address, cluster.dashboard, cluster.environment | {"RAY_ADDRESS": cluster.address})
    file = server_file(tmp_path, calling_student)
    refused = second.run("relayllm", "serve", str(file), "--port", "0", timeout_s=300)
    assert refused.returncode != 0
    assert "Ray Serve on this cluster already runs: relay" in refused.stderr + refused.stdout
    assert asked(url, [{"role": "user", "content": CALLS}]).choices[0].relay["teacher"] == "on"
