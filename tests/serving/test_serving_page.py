"""The command line serves, docs/serving.md's commands work on it, and Ctrl-C leaves nothing behind."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import yaml

from tests.pipelines.page_blocks import blocks_of
from tests.serving.stack import ENGINE, PRICES, TEACHER

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

REPOSITORY = Path(__file__).parents[2]
PAGE = "http://127.0.0.1:8000"
BLOCKS = blocks_of("serving.md")


@pytest.fixture(scope="module")
def serving(
    calling_student: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """Start `relayllm serve` and yield the URL that it says."""
    file = tmp_path_factory.mktemp("server") / "server.yaml"
    engine = ENGINE | {"max_model_len": 256}
    settings = {
        "name": "demo",
        "student": {"path": str(calling_student), "engine": engine},
        "teacher": {"path": TEACHER, "engine": engine},
        "limits": {"max_new_tokens": 40, "max_calls": 2},
        "sampling": {"student": {"temperature": 0.0}, "teacher": {"temperature": 0.0}},
        "cpus_per_replica": 0.25,
        "prices": PRICES,
    }
    file.write_text(yaml.safe_dump(settings))
    command = [sys.executable, "-m", "pipelines", "serve", str(file), "--port", "0"]
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    server = subprocess.Popen(
        command, cwd=REPOSITORY, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    try:
        assert server.stdout is not None
        said = []
        for line in server.stdout:
            said.append(line)
            if found := re.search(r"is ready: (http://\S+)", line):
                yield found[1], server
                break
        else:
            pytest.fail("".join(said))
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(timeout=120)


def test_the_commands_of_the_page_work_and_ctrl_c_leaves_no_process(
    serving: tuple[str, subprocess.Popen[str]], calling_student: Path, tmp_path: Path
) -> None:
    url, server = serving
    said = {}
    for block in BLOCKS:
        if PAGE not in block.text:
            continue
        text = block.text.replace(PAGE, url).replace('"runs/demo"', json.dumps(str(calling_student)))
        command = [sys.executable, "-c", text] if block.language == "python" else ["bash", "-c", text]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        said[block.language, "admin" in text] = done.stdout
    assert json.loads(said["bash", False])["relay"]["teacher_tokens"] > 0
    assert json.loads(said["bash", True])["policy_version"] == 1
    assert "teacher " in said["python", False]
    family = psutil.Process(server.pid).children(recursive=True)
    server.send_signal(signal.SIGTERM)  # as Ctrl-C, which is ignored where this test runs in the background
    assert server.wait(timeout=120) == 0
    _, alive = psutil.wait_procs(family, timeout=30)
    assert [process.name() for process in alive] == []
