"""A trial of W&B's agent as a Ray job on a real cluster. A script stands for the trial's run."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Iterator

import pytest

from tests.pipelines.job_project import HOW, PLANTED, Project, project_with_a_cluster

pytestmark = [pytest.mark.slow, pytest.mark.ray, pytest.mark.timeout(900)]

SWEEP = """
name: search
program: small.yaml
method: grid
metric: {name: evaluate/relay/accuracy_within_budget, goal: maximize}
parameters: {seed: {values: [0, 1, 2]}, tracking.mode: {value: online}}
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    with project_with_a_cluster(tmp_path_factory.mktemp("trials")) as project:
        (project.folder / "search.yaml").write_text(SWEEP)
        yield project


def trial(project: Project, run: str, how: str) -> subprocess.Popen[str]:
    """Start what an agent of W&B would start for the run that has this id."""
    words = ("search.yaml", "--trial", "--job", project.cluster.dashboard, "--directory", str(project.shared))
    command = [*project.command("sweep")[:-2], *words, f"seed={HOW[how]}", "tracking.mode=online"]
    ids = {"WANDB_RUN_ID": run, "WANDB_SWEEP_ID": "sweep1", "PYTHONUNBUFFERED": "1"}
    return subprocess.Popen(
        command,
        cwd=project.folder,
        env=project.environment() | ids,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_the_status_of_a_trial_is_that_of_its_job(project: Project) -> None:
    for how, status in (("ends", 0), ("fails", 1)):
        process = trial(project, how, how)
        said, _ = process.communicate(timeout=400)
        assert process.returncode == status, said
        assert "begun pipelines search.yaml small.yaml" in said
        assert (
            project.shared / "wandb-sweep1" / how / "key"
        ).read_text() == PLANTED  # without which W&B gets no number


def test_a_trial_that_is_stopped_stops_its_job_first(project: Project) -> None:
    process = trial(project, "run3", "waits")
    assert process.stdout is not None
    assert any(line.startswith("begun ") for line in process.stdout)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=400)
    assert process.returncode == 128 + signal.SIGTERM
    (job,) = json.loads(project.run("status", "search-run3", "--json").stdout)
    assert job["state"] == "stopped"
