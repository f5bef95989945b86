"""A trial as a Ray job: submitted, followed, and stopped in order."""

from __future__ import annotations

import asyncio
import shlex
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ray.job_submission import JobStatus, JobSubmissionClient

FORWARDED = ("WANDB_RUN_ID", "WANDB_SWEEP_ID", "WANDB_PROJECT", "WANDB_ENTITY", "WANDB_BASE_URL", "WANDB_MODE")
"""what the job needs of an agent's environment. A key is not among them: anyone who sees the dashboard could read it"""
_NOT_UPLOADED = (".git", ".venv*", "runs", "wandb", "build", "__pycache__")
SECONDS_TO_STOP = 120
_POLL_S = 0.5


def run_job(
    command: Sequence[str], address: str, folder: Path, environ: Mapping[str, str], metadata: Mapping[str, str]
) -> int:
    """Submit the command, print the job's log as it comes, and return 0 if the job succeeded, else 1."""
    from ray.job_submission import JobStatus, JobSubmissionClient

    variables = {name: environ[name] for name in FORWARDED if environ.get(name)}
    client = JobSubmissionClient(address)
    job = client.submit_job(
        entrypoint=shlex.join(command),
        runtime_env={
            "working_dir": str(folder),
            "excludes": list(_NOT_UPLOADED),
            "env_vars": {**variables, "RAY_JOB_STOP_WAIT_TIME_S": str(SECONDS_TO_STOP)},
        },
        metadata=dict(metadata),
    )
    print(f"job {job}", flush=True)
    try:
        asyncio.run(_print_log(client, job))
    except BaseException:
        client.stop_job(job)
        _ended(client, job)
        raise
    return 0 if _ended(client, job) == JobStatus.SUCCEEDED else 1


async def _print_log(client: JobSubmissionClient, job: str) -> None:
    async for lines in client.tail_job_logs(job):
        print(lines, end="", flush=True)


def _ended(client: JobSubmissionClient, job: str) -> JobStatus:
    """Wait until the job has ended, for as long as a job has to stop, and return its status."""
    until = time.monotonic() + SECONDS_TO_STOP
    while not (status := client.get_job_status(job)).is_terminal() and time.monotonic() < until:
        time.sleep(_POLL_S)
    return status
