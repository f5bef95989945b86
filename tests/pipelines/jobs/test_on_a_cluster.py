"""The commands for jobs on a real Ray cluster that asks for a token. A script stands for the run, so that they take seconds.

`test_real_runs.py` submits real runs.
"""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.clusters import PROGRAMS, Cluster
from tests.pipelines.job_project import HOW, PLANTED, Project, project_with_a_cluster

pytestmark = [pytest.mark.ray, pytest.mark.timeout(560)]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    with project_with_a_cluster(tmp_path_factory.mktemp("jobs")) as project:
        yield project


def all_that_the_dashboard_says(cluster: Cluster, job: str) -> dict[str, str]:
    """Return what the HTTP API tells about jobs, and the logs of the session, as a program and not a browser sees them."""
    token = Path(cluster.environment["RAY_AUTH_TOKEN_PATH"]).read_text()
    paths = ("/api/jobs/", f"/api/jobs/{job}", f"/api/jobs/{job}/logs", "/api/v0/jobs?detail=true")
    paths += ("/api/v0/actors?detail=true", "/api/v0/workers?detail=true", "/api/v0/runtime_envs?detail=true")
    paths += ("/logical/actors", "/nodes?view=details", "/events", "/api/version")
    with httpx.Client(base_url=cluster.dashboard, headers={"Authorization": f"Bearer {token}"}, timeout=60) as client:
        said = {path: client.get(path).text for path in paths}
    session = Path("/tmp/ray", json.loads(said["/api/version"])["session_name"])
    files = [path for path in session.rglob("*") if path.is_file()]
    return said | {str(path): path.read_text(errors="replace") for path in files}


def test_a_run_is_submitted_followed_stopped_and_resumed_by_its_name(project: Project) -> None:
    submitted = project.submit("first", "waits")
    assert submitted.returncode == 0, submitted.stderr
    assert "variables   WANDB_API_KEY; their values are in no job info" in submitted.stdout
    assert f"its log: relayllm logs first --follow --address {project.cluster.dashboard}" in submitted.stdout

    following = subprocess.Popen(
        project.command("logs", "first", "--follow"),
        cwd=project.folder, env=project.environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert following.stdout is not None
    printed = []
    for line in following.stdout:
        printed.append(line)
        if line.startswith("begun "):
            break
    else:
        raise AssertionError("".join(printed) + following.communicate()[1])
    begun = printed[-1]
    assert begun.split()[1:] == ["pipelines", "small.yaml"]
    following.send_signal(signal.SIGINT)
    _, told = following.communicate(timeout=200)
    assert following.returncode == 130
    assert "no longer following; first goes on" in told and "to stop it: relayllm stop first" in told

    (job,) = json.loads(project.run("status", "first", "--json").stdout)
    assert (job["state"], job["stage"], job["step"], job["commit"]) == ("running", "grpo", 7, "not in git")
    assert job["run_dir"] == str(project.shared / "first")
    said = all_that_the_dashboard_says(project.cluster, job["job"])
    assert '"RAY_JOB_STOP_WAIT_TIME_S": "120"' in said["/api/jobs/"]  # a program sees values of env_vars in plain text
    assert [where for where, text in said.items() if PLANTED in text] == []
    assert (project.shared / "first" / "key").read_text() == PLANTED

    again = project.submit("first", "waits")
    assert again.returncode == 2 and "first is running already, as job " in again.stderr

    stopped = project.run("stop", "first")
    assert stopped.returncode == 0, stopped.stdout + stopped.stderr
    assert "first: stopped\n" in stopped.stdout and "last logged: grpo 7" in stopped.stdout

    resumed = project.run("resume", "first", "--follow")
    assert resumed.returncode == 0, resumed.stdout + resumed.stderr
    assert "begun" in resumed.stdout and "first: succeeded" in resumed.stderr
    table = project.run("status", "--all").stdout.splitlines()
    assert [row.split()[:2] for row in table[1:]] == [["first", "succeeded"], ["first", "stopped"]]


@pytest.mark.slow
def test_the_exit_status_is_that_of_the_run(project: Project) -> None:
    assert project.submit("ends", "ends", "--follow").returncode == 0
    failed = project.submit("fails", "fails", "--follow")
    assert failed.returncode == 1 and "fails: failed" in failed.stderr and "relayllm resume fails" in failed.stderr
    following = subprocess.Popen(
        project.command("submit", "small.yaml", "name=stops", f"run_dir={project.shared / 'stops'}", f"seed={HOW['waits']}", "--follow"),
        cwd=project.folder, env=project.environment(), stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert following.stdout is not None
    assert next(line for line in following.stdout if line.startswith("begun "))
    assert project.run("stop", "stops").returncode == 0
    following.communicate(timeout=60)
    assert following.returncode == 3
    assert project.run("stop", "stops").stdout.startswith("stops: stopped already")


@pytest.mark.slow
def test_an_unknown_run_is_answered_with_the_known_ones(project: Project) -> None:
    project.submit("known", "ends", "--follow")
    for command in ("status", "logs", "stop", "resume"):
        asked = project.run(command, "unknown")
        assert asked.returncode == 2 and asked.stderr.count("\n") == 1, asked.stderr
        assert "no run called unknown: it has " in asked.stderr and "known" in asked.stderr.partition("it has")[2]


@pytest.mark.slow
def test_a_wrong_token_and_no_cluster_are_one_line_and_status_1(project: Project, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("1" * 64)
    for address, token, message in (
        (project.cluster.dashboard, str(tmp_path / "token"), "asks for another token"),
        (
            "http://127.0.0.1:1",
            project.cluster.environment["RAY_AUTH_TOKEN_PATH"],
            "no cluster answers at http://127.0.0.1:1",
        ),
    ):
        environment = project.environment() | {"RAY_AUTH_TOKEN_PATH": token, "RAY_ADDRESS": "http://127.0.0.1:2"}
        command = [str(PROGRAMS / "relayllm"), "status", "--address", address]
        asked = subprocess.run(
            command, cwd=project.folder, env=environment, capture_output=True, text=True, timeout=120
        )
        assert asked.returncode == 1 and asked.stderr.count("\n") == 1, asked.stderr
        assert message in asked.stderr
