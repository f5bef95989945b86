"""Runs one contestant in a process of its own, so that its peak memory can be measured.

The first line of input is the `Order` as JSON. Each later line is a size of micro-batches, for which the process takes a step.
For each step, it writes a `Step` as a line of JSON.
"""

from __future__ import annotations

import json
import os
import sys
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from subprocess import PIPE, Popen
from types import TracebackType
from typing import IO

from benchmarks.learning.workload import ModelShape, trajectories
from cluster.devices import Device, learner_environment

REPOSITORY = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True)
class Order:
    """What the process measures."""

    contestant: str
    """a key of `CONTESTANTS`"""
    model: str
    """the model's folder"""
    shape: ModelShape
    rows: int
    """number of trajectories"""
    lengths: tuple[int, int]
    """shortest and longest output, in tokens"""
    prompts: tuple[int, int]
    """shortest and longest prompt, in tokens"""
    dtype: str
    device: str
    threads: int


@dataclass(frozen=True, slots=True)
class Step:
    """The measurements of one step."""

    seconds: float
    cpu_seconds: float
    """CPU time of all threads"""
    peak_bytes: int
    """peak memory of all steps with this size of micro-batches, minus the memory in use before the model was loaded"""
    grad_norm: float


class WorkerError(RuntimeError):
    """The process ended. The message has the end of its output."""


class Worker:
    """The process of one contestant, as a context manager that kills it at the end."""

    def __init__(self, order: Order, log: Path) -> None:
        environment = os.environ | learner_environment(
            Device.GPU if order.device == "cuda" else Device.CPU, order.threads
        )
        self._log = log
        with log.open("wb") as stream:
            self._process = Popen(
                [sys.executable, "-m", __name__],
                cwd=REPOSITORY,
                env=environment,
                stdin=PIPE,
                stdout=PIPE,
                stderr=stream,
                text=True,
            )
        self._say(json.dumps(asdict(order)))

    def step(self, micro_batch: int) -> Step:
        """Take a step and return its measurements. Raises WorkerError if the process ends instead."""
        self._say(str(micro_batch))
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise WorkerError(f"exit status {self._process.wait()}: {self._log.read_text(errors='replace')[-2000:]}")
        return Step(**json.loads(line))

    def _say(self, line: str) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(line + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # the process has ended; the next read raises the error

    def __enter__(self) -> Worker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.wait()


def main() -> None:
    answers = _own_stdout()
    values = json.loads(sys.stdin.readline())
    order = replace(Order(**values), shape=ModelShape(**values["shape"]))
    import torch

    from benchmarks.learning.contestants import CONTESTANTS, Task
    from benchmarks.learning.memory import PeakMemory

    torch.set_num_threads(order.threads)
    batch, advantages = trajectories(order.rows, *order.lengths, order.shape.vocabulary, order.prompts)
    task = Task(Path(order.model), batch, advantages, order.dtype, order.device)
    _import_everything(order.contestant)
    memory = PeakMemory(order.device)
    contestant = CONTESTANTS[order.contestant](task)
    used = 0
    for line in sys.stdin:
        if used != int(line):
            used = int(line)
            contestant.use(used)
            memory.forget()
        started, cpu_started = time.perf_counter(), time.process_time()
        norm = contestant.step()
        if order.device == "cuda":
            torch.cuda.synchronize()
        seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - cpu_started
        answers.write(json.dumps(asdict(Step(seconds, cpu_seconds, memory.bytes(), norm))) + "\n")
        answers.flush()


def _own_stdout() -> IO[str]:
    """Return the standard output, for answers only. From now on, what libraries print goes to standard error."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    return answers


def _import_everything(contestant: str) -> None:
    """Import the contestant's libraries before memory is measured, so that their code does not count."""
    import torch._dynamo  # noqa: F401
    import transformers.models.qwen3.modeling_qwen3  # noqa: F401

    if contestant == "ours":
        import deepspeed  # noqa: F401

        import actors.learner.trainer  # noqa: F401
    elif contestant == "trl":
        from trl import GRPOTrainer  # noqa: F401


if __name__ == "__main__":
    main()
