"""Progress for people: a bar in a terminal, now and then a plain line in a job's log."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import Protocol, TextIO

from tqdm import tqdm

Shown = float | int | str


class Progress:
    """How far something is. In a log: a line at the first update, then at most every `every_s` seconds, and the end."""

    def __init__(
        self,
        total: int | None,
        label: str,
        *,
        done: int = 0,
        every_s: float = 30.0,
        stream: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`done` of `total` (None: unknown) were finished by an earlier process and do not count in the rate."""
        stream = sys.stderr if stream is None else stream
        self._display: _Display = (
            _Bar(total, label, done, stream) if stream.isatty() else _Lines(total, label, done, every_s, stream, clock)
        )

    def update(self, n: int = 1, **shown: Shown) -> None:
        """`n` more are done; `shown` are values to show from now on, beside those shown before."""
        self._display.update(n, {name: _short(value) for name, value in shown.items()})

    def close(self) -> None:
        """Show where it ended."""
        self._display.close()

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class _Display(Protocol):
    def update(self, n: int, shown: dict[str, str]) -> None: ...

    def close(self) -> None: ...


class _Bar:
    def __init__(self, total: int | None, label: str, done: int, stream: TextIO) -> None:
        self._bar = tqdm(total=total, desc=label, initial=done, file=stream, dynamic_ncols=True)
        self._shown: dict[str, str] = {}

    def update(self, n: int, shown: dict[str, str]) -> None:
        self._shown |= shown
        self._bar.set_postfix(self._shown, refresh=False)
        self._bar.update(n)

    def close(self) -> None:
        self._bar.close()


class _Lines:
    def __init__(
        self, total: int | None, label: str, done: int, every_s: float, stream: TextIO, clock: Callable[[], float]
    ) -> None:
        self._total, self._label, self._every_s, self._stream, self._clock = total, label, every_s, stream, clock
        self._initial = self._done = done
        self._started = clock()
        self._written_at: float | None = None
        self._pending = False
        self._shown: dict[str, str] = {}

    def update(self, n: int, shown: dict[str, str]) -> None:
        self._done += n
        self._shown |= shown
        self._pending = True
        if self._written_at is None or self._clock() - self._written_at >= self._every_s:
            self._write()

    def close(self) -> None:
        if self._pending:
            self._write()

    def _write(self) -> None:
        now = self._clock()
        parts = [f"{self._label} {self._done}" + (f"/{self._total}" if self._total is not None else "")]
        finished, elapsed_s = self._done - self._initial, now - self._started
        if finished > 0 and elapsed_s > 0:
            rate = finished / elapsed_s
            parts.append(f"{rate:.3g}/s" if rate >= 1 else f"{1 / rate:.3g} s each")
            if self._total is not None and self._total > self._done:
                parts.append(f"ETA {_duration((self._total - self._done) / rate)}")
        parts += [f"{name}={value}" for name, value in self._shown.items()]
        print("  ".join(parts), file=self._stream, flush=True)
        self._written_at, self._pending = now, False


def _short(value: Shown) -> str:
    return f"{value:.4g}" if isinstance(value, float) else " ".join(str(value).split())


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}"
