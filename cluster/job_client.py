"""Talks to the Jobs API of a Ray cluster: connects, follows a job's log, and waits for its end."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from cluster.errors import RunError

if TYPE_CHECKING:
    from ray.job_submission import JobStatus, JobSubmissionClient

ADDRESS_VARIABLES = ("RAY_API_SERVER_ADDRESS", "RAY_ADDRESS")
"""where Ray finds the address if none is given; the first one counts"""

STOP_WAIT_VARIABLE = "RAY_JOB_STOP_WAIT_TIME_S"
"""variable of a job: seconds between SIGTERM and SIGKILL when it is stopped"""

_SILENCE_S = 30.0
"""after so long without a line of the log, the job is asked for"""
_POLL_S = 1.0
_KILL_S = 60.0
"""how long Ray may take to kill a job and to say so"""
_ATTEMPTS = 5
"""connections in a row that may fail while a log is followed"""


class JobsError(RunError):
    """The cluster cannot be reached, or refuses what was asked. The message says which and what to do."""


def connect(address: str | None) -> JobSubmissionClient:
    """Return a client of the cluster's Jobs API.

    `address` is that of the dashboard, such as http://127.0.0.1:8265. It goes before the variables, which Ray would take
    first. Without it, `RAY_API_SERVER_ADDRESS` or `RAY_ADDRESS` counts, and else a cluster that runs on this machine. With
    `RAY_AUTH_MODE=token` the client sends the token. Raises `JobsError` if the cluster does not answer.
    """
    from ray.job_submission import JobSubmissionClient

    with refusals_in_words(address), _without_variables(address is not None):
        return JobSubmissionClient(address)


@contextmanager
def _without_variables(hide: bool) -> Iterator[None]:
    hidden = {name: os.environ.pop(name) for name in ADDRESS_VARIABLES if hide and name in os.environ}
    try:
        yield
    finally:
        os.environ.update(hidden)


@contextmanager
def refusals_in_words(address: str | None) -> Iterator[None]:
    """Raise a `JobsError` of one line in place of what Ray's client raises in the block."""
    import requests
    from ray.exceptions import AuthenticationError, RpcError

    where = address or next(filter(None, map(os.environ.get, ADDRESS_VARIABLES)), None) or "this machine"
    try:
        yield
    except AuthenticationError as error:
        raise JobsError(
            f"the cluster at {where} asks for another token: set RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN or "
            "RAY_AUTH_TOKEN_PATH to its token, which `ray get-auth-token` prints there"
        ) from error
    except BrokenPipeError:  # of the reader of this command's output
        raise
    except (ConnectionError, RpcError, requests.RequestException) as error:
        # RpcError: Ray has a note of a cluster that is gone
        raise JobsError(
            f"no cluster answers at {where}: give the dashboard's address, as in --address http://127.0.0.1:8265, or start "
            "a cluster with `ray start --head`"
        ) from error
    except (RuntimeError, ValueError) as error:
        if isinstance(error, RunError):
            raise
        raise JobsError(f"the cluster at {where} refuses: {_first_line(error)}") from error


def _first_line(error: Exception) -> str:
    """Return what Ray says in one line. Its server sends tracebacks, whose last line says what is wrong."""
    lines = [line for line in str(error).splitlines() if line.strip()]
    return (lines[-1] if "Traceback" in str(error) else lines[0]) if lines else type(error).__name__


def follow(client: JobSubmissionClient, job_id: str, show: Callable[[str], None]) -> JobStatus:
    """Show the job's log from its begin, and then its new lines, until the job ends. Return how it ended.

    A lost connection is made again, and nothing is shown twice. Raises `JobsError` if that fails several times in a row.
    """
    return asyncio.run(_follow(client, job_id, show))


async def _follow(client: JobSubmissionClient, job_id: str, show: Callable[[str], None]) -> JobStatus:
    import aiohttp
    import requests

    shown, failures = 0, 0

    def show_new(text: str, at: int) -> None:
        nonlocal shown, failures
        if new := text[max(shown - at, 0) :]:
            show(new)
            shown, failures = at + len(text), 0

    while True:
        try:
            await _tail(client, job_id, show_new)
            status = await asyncio.to_thread(client.get_job_status, job_id)
            if status.is_terminal():
                return status
        except BrokenPipeError:  # of the reader of this command's output
            raise
        except (aiohttp.ClientError, requests.RequestException, RuntimeError, OSError) as error:
            failures += 1
            if failures == _ATTEMPTS:
                raise JobsError(
                    f"the log of {job_id} cannot be followed: {_first_line(error)}. The job may still run: relayllm status"
                ) from error
        await asyncio.sleep(_POLL_S)


async def _tail(client: JobSubmissionClient, job_id: str, show: Callable[[str, int], None]) -> None:
    """Give each piece of the log to `show`, with its place in characters, until the connection or the job ends."""
    pieces, at = client.tail_job_logs(job_id), 0

    async def following() -> str | None:
        return await anext(pieces, None)

    while True:
        piece = asyncio.create_task(following())
        while not (await asyncio.wait({piece}, timeout=_SILENCE_S))[0]:
            if (await asyncio.to_thread(client.get_job_status, job_id)).is_terminal():
                piece.cancel()
                return
        text = piece.result()
        if text is None:
            return
        show(text, at)
        at += len(text)


def stop(client: JobSubmissionClient, job_id: str, grace_s: float) -> tuple[JobStatus, bool]:
    """Stop a job, wait for its end, and return how it ended, and whether Ray killed it, because it had not ended after `grace_s`.

    Ray does not tell which it was, but it kills no job earlier. Raises `JobsError`.
    """
    asked_at = time.monotonic()
    client.stop_job(job_id)
    status = ended(client, job_id, grace_s + _KILL_S)
    return status, time.monotonic() - asked_at >= grace_s


def ended(client: JobSubmissionClient, job_id: str, timeout_s: float) -> JobStatus:
    """Wait until the job has ended, and return how. Ray has no event for that, so it is asked. Raises `JobsError`."""
    deadline = time.monotonic() + timeout_s
    while not (status := client.get_job_status(job_id)).is_terminal():
        if time.monotonic() > deadline:
            raise JobsError(f"{job_id} has not ended after {timeout_s:.0f} s; relayllm status shows whether it does")
        time.sleep(_POLL_S)
    return status
