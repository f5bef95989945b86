"""docs/first-cluster.md, followed to the letter but for its ports."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from cluster.ports import free_port
from tests.pipelines.page_blocks import ROOT, blocks_of

pytestmark = [pytest.mark.slow, pytest.mark.ray, pytest.mark.timeout(2400)]

BLOCKS = blocks_of("first-cluster.md")
SCRIPT = "".join(block.text for block in BLOCKS if block.language == "bash" and block.when is None)
PORTS = ("8080", "8100", "8265")
START = "ray start --head "


class Reader:
    """Somebody who follows the page, with a home and a folder of their own. Ports are replaced by free ones."""

    def __init__(self, home: Path) -> None:
        self.home, self.folder = home, home / "folder"
        self._ports = {port: str(free_port()) for port in PORTS}
        more = {"port": free_port(), "dashboard-agent-listen-port": free_port(), "ray-client-server-port": free_port()}
        more["dashboard-port"] = int(self._ports["8265"])
        self._start = START + "".join(f"--{name}={port} " for name, port in more.items())
        self.environment = {
            key: value
            for key, value in os.environ.items()
            if not key.startswith(("RAY_", "WANDB_", "VLLM_", "RELAYLLM_"))
        } | {
            "HOME": str(home),
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "TORCH_EXTENSIONS_DIR": os.environ.get(
                "TORCH_EXTENSIONS_DIR", str(Path.home() / ".cache/torch_extensions")
            ),  # compiled operators do not differ by reader
        }
        shutil.copytree(ROOT / "experiments", self.folder / "experiments")
        for block in BLOCKS:
            if block.file is not None:
                (self.folder / block.file).write_text(block.text, encoding="utf-8")

    def started(self, script: str) -> subprocess.Popen[str]:
        script = re.sub("|".join(PORTS), lambda port: self._ports[port[0]], script.replace(START, self._start))
        return subprocess.Popen(
            ["bash", "-euo", "pipefail", "-c", script],
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def processes(self) -> list[psutil.Process]:
        """Return all processes that this reader has started, the cluster's too."""
        found = []
        for process in psutil.process_iter():
            try:
                if process.environ().get("HOME") == str(self.home):
                    found.append(process)
            except psutil.Error:
                pass  # it has ended
        return found


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[Reader]:
    reader = Reader(tmp_path)
    yield reader
    for _ in range(20):  # what is killed may have just started another one
        left = reader.processes()
        for process in left:
            process.send_signal(signal.SIGKILL)
        if not left:
            return
        psutil.wait_procs(left, timeout=10)
    raise AssertionError(f"cannot be ended: {left}")


def test_the_page_leads_from_no_cluster_to_a_sweep(reader: Reader) -> None:
    followed = reader.started(SCRIPT)
    output, _ = followed.communicate(timeout=2200)
    assert followed.returncode == 0, output[-8000:]

    runs = reader.folder / "runs"
    for name, steps in (("small", 6), ("second", 12)):
        logged = [json.loads(line) for line in (runs / name / "metrics.jsonl").read_text().splitlines()]
        assert [row["step"] for row in logged if row["stage"] == "grpo"] == list(range(1, steps + 1))
        assert (runs / name / "report.html").is_file()
        assert f"{name}: succeeded" in output
    assert "second: stopped\n" in output
    assert re.search(r'^ray_relayllm_answers_total\{.*actor="rollout-0".*\} [1-9]', output, re.M)
    trials = json.loads((runs / "sweeps/small-search/trials.json").read_text())["trials"]
    assert [trial["state"] for trial in trials] == ["finished", "finished"]

    page = reader.started(next(block.text for block in BLOCKS if block.when == "the page"))
    assert page.stdout is not None
    address = next(found[0] for line in page.stdout if (found := re.search(r"http://[\d.:]+", line)))
    shown = httpx.get(f"{address}/api/runs").json()
    assert {run["name"] for run in shown["runs"]} >= {"small", "second"}
    page.terminate()
    page.communicate(timeout=60)
