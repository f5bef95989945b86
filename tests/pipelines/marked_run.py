"""A real run as a process of its own, whose processes can be found."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from benchmarks._own_processes import Mark
from pipelines.records.run_directory import RunDirectory

REPOSITORY = Path(__file__).parents[2]


class MarkedRun:
    """The run of one experiment, as a process in a session of its own."""

    def __init__(self, folder: Path, experiment: str) -> None:
        """`experiment` is the text of the experiment; `{demo}` and `{cache}` in it are filled in."""
        self.folder = folder
        self.mark = Mark()
        (folder / "small.yaml").write_text(
            experiment.format(demo=REPOSITORY / "experiments" / "demo.yaml", cache=folder / "models")
        )
        self.directory = RunDirectory(folder / "run")

    def start(self, *overrides: str) -> subprocess.Popen[bytes]:
        inherited = {key: value for key, value in os.environ.items() if not key.startswith(("RAY_", "WANDB_", "VLLM_"))}
        command = [sys.executable, "-m", "pipelines", "run", str(self.folder / "small.yaml")]
        return subprocess.Popen(
            [*command, f"run_dir={self.directory.path}", *overrides],
            cwd=REPOSITORY,
            env=inherited | self.mark.environment | {"PYTHONUNBUFFERED": "1"},
            stdout=(self.folder / "output").open("wb"),
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def output(self) -> str:
        return (self.folder / "output").read_text(errors="replace")

    def left(self) -> dict[int, str]:
        """Return the processes that stem from this run."""
        return self.mark.processes()

    def wait_until_none_is_left(self, timeout_s: float = 60.0) -> None:
        for pid, command in self.left().items():
            try:
                ended = os.pidfd_open(pid)
            except ProcessLookupError:
                continue
            assert select.select([ended], [], [], timeout_s)[0], f"still there: {pid} {command}"
            os.close(ended)
        assert not self.left()


@contextmanager
def marked_run(folder: Path, experiment: str) -> Iterator[MarkedRun]:
    """Yield a run of an experiment's text. At the end of the block all of its processes are killed."""
    run = MarkedRun(folder, experiment)
    try:
        yield run
    finally:
        for pid in run.left():
            os.kill(pid, signal.SIGKILL)


def wait_for(run: MarkedRun, process: subprocess.Popen[bytes], reached: Callable[[], bool]) -> None:
    """Wait until the run has come so far, as its files say; a process that ends earlier fails the test."""
    while not reached():
        run.mark.processes()  # which tells it the classes of actors
        try:
            process.wait(timeout=0.2)
        except subprocess.TimeoutExpired:
            continue
        pytest.fail(f"the run ended with {process.returncode} too early:\n{run.output()[-4000:]}")


def steps_of(run: MarkedRun, stage: str) -> int:
    rows = run.directory.read_jsonl("metrics.jsonl")
    return max((int(row["step"]) for row in rows if row["stage"] == stage), default=0)  # type: ignore[call-overload]
