"""A folder to submit jobs from, in which a script stands for the run, and a cluster to submit them to."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.clusters import PROGRAMS, REPOSITORY, Cluster, cluster_of_its_own
from tests.pipelines.small import SMALL

PLANTED = "planted-0123456789abcdef-planted"
SCRIPT = """
import json, os, signal, sys, time
from pathlib import Path

settings = dict(word.partition("=")[::2] for word in sys.argv[3:])
run_dir = Path(settings["run_dir"])
run_dir.mkdir(parents=True, exist_ok=True)
(run_dir / "experiment.yaml").write_text(f"name: {settings['name']}\\n")
with (run_dir / "metrics.jsonl").open("a") as log:
    log.write(json.dumps({"stage": "grpo", "step": 7, "metrics": {}}) + "\\n")

def stop(*_):
    print("stopped by SIGTERM; what is finished is kept", flush=True)
    sys.exit(143)

signal.signal(signal.SIGTERM, stop)
(run_dir / "key").write_text(os.environ.get("WANDB_API_KEY", ""))
print("begun", *sorted(os.listdir()), flush=True)
if settings["seed"] == "2" and not (run_dir / "waited").exists():
    (run_dir / "waited").touch()
    while True:  # signal.pause() misses a signal that comes just before it
        time.sleep(0.05)
sys.exit(settings["seed"] == "1")
"""
"""stands for `python -m pipelines run …`; the seed says how it ends"""
HOW = {"ends": 0, "fails": 1, "waits": 2}
"""seeds; a run that waits does so once, until it is stopped"""


@dataclass(frozen=True)
class Project:
    """A working directory, and a cluster to submit from it to."""

    folder: Path
    cluster: Cluster
    shared: Path

    def command(self, *words: str) -> list[str]:
        return [str(PROGRAMS / "relayllm"), *words, "--address", self.cluster.dashboard]

    def environment(self) -> dict[str, str]:
        return self.cluster.environment | {"WANDB_API_KEY": PLANTED, "PYTHONPATH": str(REPOSITORY)}

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(*words), cwd=self.folder, env=self.environment(), capture_output=True, text=True, timeout=400
        )

    def submit(self, run: str, how: str, *options: str) -> subprocess.CompletedProcess[str]:
        settings = [f"name={run}", f"run_dir={self.shared / run}", f"seed={HOW[how]}", "tracking.mode=online"]
        return self.run("submit", "small.yaml", *settings, *options)


@contextmanager
def project_with_a_cluster(folder: Path) -> Iterator[Project]:
    """Make the folder and start the cluster, until the block ends."""
    (folder / "project" / "pipelines").mkdir(parents=True)
    (
        folder / "project" / "pipelines" / "__init__.py"
    ).touch()  # without it Python takes the package further back on the path
    (folder / "project" / "pipelines" / "__main__.py").write_text(SCRIPT)
    (folder / "project" / "small.yaml").write_text(
        SMALL.replace("path: a}", "path: /cluster/a}")
        .replace("path: b}", "path: /cluster/b}")
        .replace("evaluation.jsonl", "/cluster/evaluation.jsonl")
    )
    (folder / "project" / ".venv").mkdir()
    (folder / "project" / ".venv" / "large").touch()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(REPOSITORY))  # of the jobs, which find cluster/ there
        with cluster_of_its_own(folder) as cluster:
            yield Project(folder / "project", cluster, folder / "shared")
