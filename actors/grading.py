"""Grades answers under hard limits of time and memory, whatever the answers contain."""

from __future__ import annotations

import asyncio
import json
import math
import os
import queue
import select
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import Enum
from threading import Lock

from pydantic import Field

from actors.grading_worker import CORRECT, READY, WRONG
from cluster.errors import RunError
from cluster.settings import Seconds, Settings, Threads
from rewards.answers import extract_answer
from rewards.verification import AnswerForm, verify_quickly


class GradingSettings(Settings):
    """Processes that compare answers symbolically, and the limits of one comparison."""

    workers: Threads = Field(2, description="number of processes")
    timeout_s: Seconds = Field(
        5.0, description="deadline of one answer; past it the process is killed and the answer counts as wrong"
    )
    memory_mib: int = Field(
        1024,
        ge=256,
        le=1_000_000,
        description="address space of one process; an answer that needs more counts as wrong",
    )
    start_timeout_s: Seconds = Field(120.0, description="deadline for a process to start")


class GradingError(RunError):
    """Grading processes cannot run at all; the message says why."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What grading one text found."""

    correct: bool
    answer: str | None
    """the boxed answer; None if there is none"""
    timed_out: bool = False
    """the comparison was killed at its deadline, so the answer may still be right"""
    crashed: bool = False
    """the comparison ended its process twice, so the answer may still be right"""


@dataclass(frozen=True, slots=True)
class GradingHealth:
    """State of a pool. The counts of answers are since its start."""

    workers: int
    alive: int
    graded: int
    symbolic: int
    """answers compared in a worker process"""
    timed_out: int
    crashed: int


class GradingPool:
    """Grades texts against gold answers.

    Texts and numbers are compared in the caller's process. Only answers that need symbolic algebra go to worker processes.
    A worker that misses its item's deadline is killed and replaced; other items are not affected. Workers are started by
    exec, not by fork, so that a process with threads can hold a pool. `grade` calls may overlap, on any event loop.
    """

    def __init__(self, settings: GradingSettings | None = None) -> None:
        self._settings = settings or GradingSettings()
        self._threads = ThreadPoolExecutor(self._settings.workers, thread_name_prefix="grading")
        self._workers = [_Worker(self._settings) for _ in range(self._settings.workers)]
        self._idle: queue.SimpleQueue[_Worker] = queue.SimpleQueue()
        for worker in self._workers:
            self._idle.put(worker)
        self._lock = Lock()
        self._graded = self._symbolic = self._timed_out = self._crashed = 0

    async def grade(self, items: Sequence[tuple[str, str]], forms: Sequence[AnswerForm] | None = None) -> list[Verdict]:
        """Return the verdict on each `(text, gold)`, in order. `forms` are the forms of the golds; None means all free.

        Raises `GradingError` if a grading process cannot start.
        """
        forms = ["free"] * len(items) if forms is None else forms
        answers = [extract_answer(text) for text, _ in items]
        pairs = [(answer, gold) for answer, (_, gold) in zip(answers, items, strict=True)]
        quick = [
            answer is not None and verify_quickly(answer, gold, form)
            for (answer, gold), form in zip(pairs, forms, strict=True)
        ]
        open_pairs = list(dict.fromkeys(pair for pair, decided in zip(pairs, quick, strict=True) if decided is None))
        loop = asyncio.get_running_loop()
        replies = await asyncio.gather(
            *(loop.run_in_executor(self._threads, self._compare, *pair) for pair in open_pairs)
        )
        reply_to = dict(zip(open_pairs, replies, strict=True))
        verdicts = [
            _verdict(pair[0], reply_to[pair]) if decided is None else Verdict(decided, pair[0])
            for pair, decided in zip(pairs, quick, strict=True)
        ]
        with self._lock:
            self._graded += len(items)
        return verdicts

    def health(self) -> GradingHealth:
        """Return the pool's state. A killed worker counts as not alive until its replacement has started."""
        alive = sum(worker.alive for worker in self._workers)
        return GradingHealth(len(self._workers), alive, self._graded, self._symbolic, self._timed_out, self._crashed)

    def close(self) -> None:
        """Kill the workers. Comparisons that still run end as crashed; those that have not begun are cancelled."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        for worker in self._workers:
            worker.close()
        self._threads.shutdown(wait=True)
        for worker in self._workers:
            worker.release()

    def _compare(self, answer: str | None, gold: str) -> _Reply:
        assert answer is not None
        worker = self._idle.get()
        try:
            reply = worker.compare(answer, gold)
        finally:
            self._idle.put(worker)
        with self._lock:
            self._symbolic += 1
            self._timed_out += reply is _Reply.TIMED_OUT
            self._crashed += reply is _Reply.CRASHED
        return reply


class _Reply(Enum):
    CORRECT = "correct"
    WRONG = "wrong"
    TIMED_OUT = "timed_out"
    CRASHED = "crashed"


def _verdict(answer: str | None, reply: _Reply) -> Verdict:
    return Verdict(reply is _Reply.CORRECT, answer, reply is _Reply.TIMED_OUT, reply is _Reply.CRASHED)


class _Worker:
    """One process and its replacements; used by one thread at a time."""

    def __init__(self, settings: GradingSettings) -> None:
        self._settings = settings
        self._lock = Lock()
        self._closed = False
        self._process: subprocess.Popen[bytes] | None = None
        self.ready = False
        self.busy = False
        """whether the process has an item"""
        self._start()

    @property
    def pid(self) -> int:
        return 0 if self._process is None else self._process.pid

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def compare(self, answer: str, gold: str) -> _Reply:
        """Return the reply to one item. Afterwards, a live or starting process is ready for the next item in any case.

        An item counts as crashed only if it ends two processes, because the first may have been killed for another reason.
        """
        line = json.dumps([answer, gold]).encode() + b"\n"
        for _ in range(2):
            self._await_ready()
            reply = self._ask(line)
            if reply in (_Reply.TIMED_OUT, _Reply.CRASHED):
                self._replace()
            if reply is not _Reply.CRASHED or self._closed:
                break
        return reply

    def close(self) -> None:
        """Kill the process for good, so that no thread waits for it any more. Call `release` after those threads have ended."""
        with self._lock:
            self._closed = True
            self._kill()

    def release(self) -> None:
        """Close the pipes."""
        for pipe in (self._process.stdin, self._process.stdout) if self._process else ():
            if pipe is not None:
                pipe.close()

    def _ask(self, line: bytes) -> _Reply:
        assert self._process is not None and self._process.stdin is not None
        try:
            self._process.stdin.write(line)
            self.busy = True
            received = self._read_line(time.monotonic() + self._settings.timeout_s)
        except OSError:
            return _Reply.CRASHED
        finally:
            self.busy = False
        if received is None:
            return _Reply.TIMED_OUT
        return {CORRECT: _Reply.CORRECT, WRONG: _Reply.WRONG}.get(received, _Reply.CRASHED)

    def _await_ready(self) -> None:
        """Wait until the process has started, which does not count towards an item's deadline. Replace it if it died while idle.

        Raises `GradingError` if the process does not start.
        """
        if self.ready and not self.alive:
            self._replace()
        if not self.ready:
            received = self._read_line(time.monotonic() + self._settings.start_timeout_s)
            if received != READY:
                why = "was too slow to start" if received is None else f"ended at its start, replying {received!r}"
                self._replace()
                raise GradingError(f"a grading process {why}; this process's standard error has what it wrote")
            self.ready = True

    def _read_line(self, deadline: float) -> bytes | None:
        """Return one line; only its beginning if the process ended; None if the deadline (of `time.monotonic`) passed."""
        assert self._process is not None and self._process.stdout is not None
        descriptor = self._process.stdout.fileno()
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        line = b""
        while not line.endswith(b"\n"):
            if not poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
                return None
            part = os.read(descriptor, 64)
            if not part:
                break
            line += part
        return line

    def _start(self) -> None:
        with self._lock:
            if self._closed:
                return
            settings = self._settings
            backstop_s = math.ceil(settings.timeout_s) + 5
            self._process = subprocess.Popen(
                [
                    sys.executable,
                    "-W",
                    "ignore",
                    "-m",
                    "actors.grading_worker",
                    str(settings.memory_mib),
                    str(backstop_s),
                ],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                bufsize=0,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
            )
            self.ready = False

    def _replace(self) -> None:
        self._kill()
        if not self._closed:
            self.release()
            self._start()

    def _kill(self) -> None:
        process = self._process
        if process is not None:
            process.kill()
            process.wait()
