"""A trial as a Ray job on a real cluster: what it is given, what its status means, and how it is stopped."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from ray.job_submission import JobStatus, JobSubmissionClient

from tests.clusters import REPOSITORY, Cluster, cluster_of_its_own

SUBMIT = (
    "import os, sys; from pathlib import Path; from pipelines.sweep.job import run_job;"
    "from pipelines.terminal.interruption import interruptible;"
    "run = lambda: run_job(['python', *sys.argv[2:]], sys.argv[1], Path.cwd(), os.environ, {'sweep': 'small'});"
    "sys.exit(interruptible(run))"
)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with cluster_of_its_own(tmp_path_factory.mktemp("cluster")) as found:
        yield found


def submit(cluster: Cluster, folder: Path, code: str) -> subprocess.Popen[str]:
    variables = {
        "WANDB_RUN_ID": "run1",
        "WANDB_API_KEY": "secret",
        "PYTHONPATH": str(REPOSITORY),
        "PYTHONUNBUFFERED": "1",
    }
    return subprocess.Popen(
        [sys.executable, "-c", SUBMIT, cluster.dashboard, "-u", "-c", code],
        cwd=folder,
        env={**cluster.environment, **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_job_has_the_agents_ids_and_no_key_and_its_status_is_the_trials(cluster: Cluster, tmp_path: Path) -> None:
    code = "import os; print(os.environ['WANDB_RUN_ID'], os.environ.get('WANDB_API_KEY')); raise SystemExit({})"
    for status, outcome in ((0, 0), (3, 1)):
        process = submit(cluster, tmp_path, code.format(status))
        said, errors = process.communicate(timeout=400)
        assert process.returncode == outcome, said + errors
        assert "run1 None" in said


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_trial_that_is_stopped_stops_its_job_first(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = submit(cluster, tmp_path, "import signal; print('here'); signal.pause()")
    assert process.stdout is not None
    lines = iter(process.stdout)
    job = next(line for line in lines if line.startswith("job ")).split()[1]
    assert any(line.strip() == "here" for line in lines)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=400)
    assert process.returncode == 128 + signal.SIGTERM
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.setitem(os.environ, name, cluster.environment[name])
    assert JobSubmissionClient(cluster.dashboard).get_job_status(job) == JobStatus.STOPPED
