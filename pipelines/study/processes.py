"""Runs as processes of their own on one Ray cluster: started, and stopped in order if this process has to stop."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import TracebackType

from cluster.session import ray_session
from pipelines.experiment.schema import Experiment
from pipelines.terminal.interruption import ended_at_once

RUN = (sys.executable, "-m", "pipelines", "run")
SECONDS_TO_STOP = 120.0
"""time that a run has to end its actors and its W&B run when it is stopped"""


class Processes:
    """Processes that may run at the same time, as a context manager. None of them is left when the block ends."""

    def __init__(self) -> None:
        self._left: list[subprocess.Popen[bytes]] = []
        self._ends = ExitStack()

    def start(
        self, command: Sequence[str], environment: Mapping[str, str], output: Path | None = None
    ) -> subprocess.Popen[bytes]:
        """Start a process, and return it. What it prints is added to the file `output`, if there is one."""
        self._left = [process for process in self._left if process.poll() is None]
        with ExitStack() as files:
            to = files.enter_context(output.open("ab")) if output else None
            # In its own process group, so that Ctrl-C reaches it only once: through this process.
            process = subprocess.Popen(
                command, env=environment, process_group=0, stdout=to, stderr=subprocess.STDOUT if to else None
            )
        self._left.append(process)
        return process

    def __enter__(self) -> Processes:
        self._ends.enter_context(ended_at_once(self._kill))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._ends:
            for process in self._left:
                process.terminate()
            until = time.monotonic() + SECONDS_TO_STOP
            try:
                for process in self._left:
                    with suppress(subprocess.TimeoutExpired):
                        process.wait(max(until - time.monotonic(), 0.0))
            finally:
                self._kill()
                for process in self._left:
                    process.wait()

    def _kill(self) -> None:
        for process in self._left:
            process.kill()


def how_it_failed(status: int) -> str | None:
    """Return how a process failed that ended with a status; None if it did not fail."""
    if status == 0:
        return None
    return f"failed with status {status}" if status > 0 else f"was ended by {signal.Signals(-status).name}"


@contextmanager
def one_cluster(name: str, experiments: Sequence[Experiment], at_a_time: int = 1) -> Iterator[Mapping[str, str]]:
    """Yield the environment of the runs' processes. They join one cluster, large enough for the largest of them.

    A cluster that is started here is as large as `at_a_time` of them. Runs with `cluster.address` go to that cluster.
    """
    needs = [experiment.resources() for experiment in experiments if experiment.cluster.address is None]
    if not needs:
        yield os.environ
        return
    cpus, gpus = (at_a_time * max(amounts) for amounts in zip(*needs, strict=True))
    with ray_session(name, None, cpus, gpus) as address:
        yield {**os.environ, "RAY_ADDRESS": address}
