"""Shows progress: a live display in a terminal, or a plain line now and then in a job's log."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from types import TracebackType
from typing import TextIO

from pipelines.terminal.live import Display, Shown, clock, current, live

Value = float | int | str

_open: list[Progress] = []
"""the innermost is the last"""


class Progress:
    """Shows how far a task is. A log gets a line at the first update, then at most every `every_s` seconds, and at the end.

    `sequences` is the number of decoded sequences in one unit. With it, finished sequences of running orders count, too.
    """

    def __init__(
        self,
        total: int | None,
        label: str,
        *,
        done: int = 0,
        sequences: int | None = None,
        every_s: float = 30.0,
        stream: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`done` of `total` (None: unknown) were finished by an earlier process and do not count in the rate."""
        self._total, self._label, self._sequences, self._every_s, self._clock = total, label, sequences, every_s, clock
        self._stream = sys.stderr if stream is None else stream
        self._initial = self._done = done
        self._begun = 0
        """sequences that are finished beyond the units that are done"""
        self._started = clock()
        self._written_at: float | None = None
        self._pending = False
        self._values: dict[str, str] = {}
        self._end = ExitStack()
        display = current()
        if display is None and self._stream.isatty():
            display = self._end.enter_context(live(Display(), self._stream))
        self._display = display
        self._shown = Shown(label, total, done)
        if display is not None:
            display.open.append(self._shown)
        _open.append(self)

    def update(self, n: int = 1, **values: Value) -> None:
        """Count `n` more units as done. Show `values` from now on, beside earlier ones."""
        self._done += n
        self._begun = max(self._begun - n * self._sequences, 0) if self._sequences else 0
        self._values |= {name: _short(value) for name, value in values.items()}
        self._tell()

    def wrote(self, sequences: int, tokens_per_s: float) -> None:
        """Note that running orders have finished `sequences`, and at which rate the engines write tokens."""
        if self._sequences is not None:
            self._begun = sequences
            self._values["tokens/s"] = f"{tokens_per_s:.0f}"
        if self._display is not None:
            self._display.tokens_per_s = tokens_per_s
        self._tell(first=False)

    def close(self) -> None:
        """Show the last state, and end the display of this task."""
        if self not in _open:
            return
        _open.remove(self)
        if self._display is not None:
            self._display.open.remove(self._shown)
        self._end.close()
        self._begun = 0
        if self._pending:
            self._write()

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def _so_far(self) -> float:
        so_far = self._done + self._begun / self._sequences if self._sequences else float(self._done)
        return so_far if self._total is None else min(so_far, self._total)

    def _tell(self, first: bool = True) -> None:
        self._pending = True
        if self._display is not None:
            self._shown.done, self._shown.left_s = self._so_far, self._left_s()
            self._shown.values = {name: value for name, value in self._values.items() if name != "tokens/s"}
            return
        since = self._started if self._written_at is None and not first else self._written_at
        if since is None or self._clock() - since >= self._every_s:
            self._write()

    def _rate(self) -> float | None:
        finished, elapsed_s = self._so_far - self._initial, self._clock() - self._started
        return finished / elapsed_s if finished > 0 and elapsed_s > 0 else None

    def _left_s(self) -> float | None:
        rate = self._rate()
        return (self._total - self._so_far) / rate if rate and self._total is not None else None

    def _write(self) -> None:
        parts = [f"{self._label} {int(self._so_far)}" + (f"/{self._total}" if self._total is not None else "")]
        if (rate := self._rate()) is not None:
            parts.append(f"{rate:.3g}/s" if rate >= 1 else f"{1 / rate:.3g} s each")
            left_s = self._left_s()
            if left_s and self._total is not None and self._total > self._so_far:
                parts.append(f"ETA {clock(left_s)}")
        if self._begun and self._sequences and self._sequences > 1:
            parts.append(f"answers={self._begun}/{self._sequences}")
        parts += [f"{name}={value}" for name, value in self._values.items()]
        print("  ".join(parts), file=sys.stderr if self._stream.isatty() else self._stream, flush=True)
        self._written_at, self._pending = self._clock(), False


def wrote(sequences: int, tokens_per_s: float) -> None:
    """Tell the innermost progress what the engines are writing."""
    if _open:
        _open[-1].wrote(sequences, tokens_per_s)


def _short(value: Value) -> str:
    return f"{value:.4g}" if isinstance(value, float) else " ".join(str(value).split())
