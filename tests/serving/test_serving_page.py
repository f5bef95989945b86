"""The command line serves a run, all commands of docs/serving.md work on it, and Ctrl-C leaves nothing behind."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
import yaml

from pipelines.experiment.loading import load, resolved_yaml
from pipelines.experiment.schema import Experiment
from pipelines.serving.target import server_settings
from tests.model_folder import model_folder
from tests.pipelines.page_blocks import Block, blocks_of, run_in
from tests.serving.conftest import CALLS

REPOSITORY = Path(__file__).parents[2]
PAGE = "http://127.0.0.1:8000"
BLOCKS = blocks_of("serving.md")
COMMANDS = [
    line for block in BLOCKS if block.language == "bash" for line in block.text.replace("\\\n", "").splitlines()
]
"""each a command of the page"""


def a_run(folder: Path, student: Path) -> Path:
    """Return the folder of a finished run of the demo as far as a server needs it."""
    run = folder / "runs" / "demo"
    (run / "stages" / "grpo").mkdir(parents=True)
    experiment = load(REPOSITORY / "experiments" / "demo.yaml", ["cluster.cpus_per_actor=0.25"], Experiment)
    (run / "experiment.yaml").write_text(resolved_yaml(experiment))
    shutil.copytree(student, run / "stages" / "grpo" / "model")
    for block in BLOCKS:
        if block.file is not None:
            (folder / block.file).write_text(block.text)
    return run


@pytest.fixture(scope="module")
def folder(calling_student: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the page's files and with runs/demo."""
    folder = tmp_path_factory.mktemp("reader")
    a_run(folder, calling_student)
    return folder


@pytest.fixture(scope="module")
def serving(folder: Path) -> Iterator[tuple[str, subprocess.Popen[str], list[str]]]:
    """Start `relayllm serve`; yield the URL that it says, its process, and what it has said so far."""
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    server = subprocess.Popen(
        [sys.executable, "-m", "pipelines", "serve", "runs/demo", "--port", "0"],
        cwd=folder,
        env=environment | {"PYTHONPATH": str(REPOSITORY)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        assert server.stdout is not None
        said: list[str] = []
        for line in server.stdout:
            said.append(line)
            if found := re.search(r"is ready: (http://\S+)", line):
                yield found[1], server, said
                break
        else:
            pytest.fail("".join(said))
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(timeout=120)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_commands_of_the_page_work_on_a_server(
    serving: tuple[str, subprocess.Popen[str], list[str]], folder: Path
) -> None:
    url, _, _ = serving
    said = {}
    for command in COMMANDS:
        if PAGE in command:
            said[command] = run_in(folder, f"printf '94*03\\n' | {command.replace(PAGE, url)}")
    (asked,) = [json.loads(answer) for command, answer in said.items() if "/v1/chat" in command]
    assert asked["relay"]["teacher_tokens"] > 0
    (published,) = [json.loads(answer) for command, answer in said.items() if "/admin/student" in command]
    assert published["policy_version"] == 1
    (chat,) = [answer for command, answer in said.items() if command.startswith("relayllm chat")]
    assert re.search(r"⟦.+⟧.*\n\[call ratio ", chat)
    assert sum(command.startswith("relayllm generate") for command in said) == 2
    alone = [json.loads(line) for line in (folder / "alone.jsonl").read_text().splitlines()]
    assert [row["relay"]["teacher_tokens"] for row in alone] == [0, 0]
    (client,) = [block.text for block in BLOCKS if block.language == "python"]
    (folder / "client.py").write_text(client.replace(PAGE, url))
    assert "teacher " in run_in(folder, "python client.py")


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_killed_ingress_comes_back_at_the_same_address(
    serving: tuple[str, subprocess.Popen[str], list[str]],
) -> None:
    url, server, _ = serving
    (ingress,) = _replicas(server, "ingress")
    with httpx.Client(timeout=60, trust_env=False) as connected:  # so that Linux keeps the port for a while
        connected.get(f"{url}/health").raise_for_status()
        ingress.kill()
        deadline = time.monotonic() + 240
        while not (answer := _asked(url)):
            assert time.monotonic() < deadline, "the ingress did not come back"
            time.sleep(0.5)
    assert answer["relay"]["teacher_tokens"] > 0
    assert [one.pid for one in _replicas(server, "ingress")] != [ingress.pid]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_ctrl_c_leaves_no_process_and_ray_says_nothing(
    serving: tuple[str, subprocess.Popen[str], list[str]],
) -> None:
    url, server, said = serving
    family = psutil.Process(server.pid).children(recursive=True)
    server.send_signal(signal.SIGTERM)  # as Ctrl-C, which is ignored where this test runs in the background
    rest, _ = server.communicate(timeout=120)
    assert server.returncode == 0
    _, alive = psutil.wait_procs(family, timeout=30)
    assert [process.name() for process in alive] == []
    assert [line.split(url)[0] for line in said if "not up yet" not in line] == [
        "starting Ray and the engines of demo\n",
        "relay server demo is ready: ",
    ]
    curl, *others = [line for line in rest.splitlines() if line and not _RESTART.search(line)]
    assert curl.startswith(f"curl -N {url}")
    assert len(others) == 2
    assert "Ctrl-C" in others[0] and "finishing the requests" in others[1]


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", ["chat", "generate"])
def test_the_clients_start_the_server_of_a_run_and_end_it(folder: Path, name: str) -> None:
    (command,) = [one for one in COMMANDS if one.startswith(f"relayllm {name} runs/demo")]
    said = run_in(folder, f"printf '94*03\\n' | {command} 2>&1")
    assert "starting a server" in said and "it is killed" not in said
    assert "call ratio" in said
    assert not [process for process in psutil.process_iter(["cmdline"]) if _serves(process, folder)]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_server_of_a_killed_client_ends(folder: Path) -> None:
    command = [sys.executable, "-m", "pipelines", "chat", "runs/demo"]
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    client = subprocess.Popen(
        command, cwd=folder, env=environment, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert client.stderr is not None
    assert "starting a server" in client.stderr.readline()
    (server,) = psutil.Process(client.pid).children()
    while not (family := server.children(recursive=True)):
        time.sleep(0.1)
    client.kill()
    client.communicate()
    _, alive = psutil.wait_procs([server, *family], timeout=120)
    assert alive == []


_RESTART = re.compile(r"is being restarted|the server works again|\(raylet\)")
"""what the server may say of the ingress that was killed"""


def _replicas(server: subprocess.Popen[str], deployment: str) -> list[psutil.Process]:
    name = f"ray::ServeReplica:demo:{deployment}"
    return [one for one in psutil.Process(server.pid).children(recursive=True) if name in " ".join(one.cmdline())]


def _asked(url: str) -> dict[str, Any]:
    """Return the answer to a question that makes the student call; nothing if the server does not answer."""
    body = {"messages": [{"role": "user", "content": CALLS}], "temperature": 0}
    try:
        answer: dict[str, Any] = (
            httpx.post(f"{url}/v1/chat/completions", json=body, timeout=60).raise_for_status().json()
        )
    except httpx.HTTPError:
        return {}
    return answer


def _serves(process: psutil.Process, folder: Path) -> bool:
    try:
        return "serve" in (process.info["cmdline"] or []) and process.cwd() == str(folder)
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return False


@pytest.mark.parametrize("block", [block for block in BLOCKS if block.language == "yaml"], ids=lambda block: block.file)
def test_a_file_of_the_page_is_a_servers(block: Block, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("student", "runs/demo/stages/grpo/model"):
        model_folder(tmp_path / name)
    base = {"name": "demo", "student": {"path": "./student"}}
    file = tmp_path / "server.yaml"
    file.write_text(yaml.safe_dump(base | yaml.safe_load(block.text)))
    assert server_settings(file).student.path.startswith(str(tmp_path))


def test_every_file_of_the_page_is_used() -> None:
    assert {block.file for block in BLOCKS if block.language == "yaml"} == {"public.yaml", "remote.yaml"}
    assert all(command.split()[0] in ("relayllm", "curl", "sqlite3", "export") for command in COMMANDS)
