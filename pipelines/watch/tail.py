"""Reads a growing log piece by piece: each read takes only what was added since the one before."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass, field
from pathlib import Path

MOST_LINE_BYTES = 8 << 20
"""a longer line is skipped, so that no file can fill the memory"""


class NotALogError(Exception):
    """A file that cannot be read as a log; the message says why."""


@dataclass(slots=True)
class Budget:
    """How many bytes one refresh may still read, and how many it has read."""

    left: int
    read: int = 0

    def take(self, count: int) -> None:
        self.left -= count
        self.read += count


@dataclass(frozen=True, slots=True)
class Added:
    """What one read found."""

    lines: list[bytes] = field(default_factory=list)
    """complete lines, without their newline"""
    first_line: int = 1
    """the number of the first of them in the file; counted from where the reading began"""
    restarted: bool = False
    """the file is another one than before: what was read earlier no longer counts"""
    too_long: int = 0
    """lines that were skipped because of their length"""


class Tail:
    """One log file. A half-written last line is left for the next read, which reads it again from its start."""

    def __init__(self, path: Path, last_bytes: int | None = None) -> None:
        """Begin at the file's start, or with `last_bytes` at the first whole line of so many bytes at its end."""
        self._path, self._last_bytes = path, last_bytes
        self._inode: int | None = None
        self._seen: tuple[int, int, int] | None = None
        """inode, size and time of the last change at the last read"""
        self._offset = self._lines = 0
        self._skips = False
        """whether the text at the offset belongs to a line that is left out"""
        self.behind = 0
        """bytes that are still to be read"""
        self.changed_at: float | None = None
        """when the file was last written, in seconds since the epoch; None if there is no file"""

    def read(self, budget: Budget) -> Added:
        """Return the complete lines that were added, as many as the budget allows. Raises `NotALogError`."""
        try:
            seen = os.lstat(self._path)
        except FileNotFoundError:
            return self._gone()
        except OSError as error:
            raise NotALogError(f"{self._path.name}: cannot be read: {error.strerror}") from error
        if not stat.S_ISREG(seen.st_mode):
            raise NotALogError(f"{self._path.name}: is no plain file")
        self.changed_at = seen.st_mtime
        mark = (seen.st_ino, seen.st_size, seen.st_mtime_ns)
        if mark == self._seen and not self.behind:
            return Added()
        restarted = self._inode is not None and (seen.st_ino != self._inode or seen.st_size < self._offset)
        if self._inode is None or restarted:
            self._begin(seen.st_ino, seen.st_size)
        if budget.left <= 0:
            self.behind = seen.st_size - self._offset
            return Added(restarted=restarted)
        added = self._take(budget, seen.st_size, restarted)
        self._seen = mark  # not before: a read that fails is tried again
        return added

    def _gone(self) -> Added:
        had = self._inode is not None
        self._inode = self._seen = self.changed_at = None
        self._offset = self._lines = self.behind = 0
        return Added(restarted=had)

    def _begin(self, inode: int, size: int) -> None:
        self._inode, self._lines = inode, 0
        self._offset = 0 if self._last_bytes is None else max(size - self._last_bytes, 0)
        self._skips = self._offset > 0

    def _take(self, budget: Budget, size: int, restarted: bool) -> Added:
        wanted = min(size - self._offset, max(budget.left, MOST_LINE_BYTES))
        data = self._bytes(wanted)
        budget.take(len(data))
        whole = data.rfind(b"\n") + 1
        too_long = 0
        if not whole and len(data) >= MOST_LINE_BYTES:
            too_long, whole = int(not self._skips), len(data)
            self._skips, lines = True, []
        else:
            lines = data[:whole].split(b"\n")[:-1]
            if self._skips and lines:
                lines, self._skips = lines[1:], False
        first = self._lines + 1
        self._lines += len(lines)
        self._offset += whole
        self.behind = size - self._offset if len(data) < size - self._offset + whole else 0
        return Added(lines, first, restarted, too_long)

    def _bytes(self, wanted: int) -> bytes:
        try:
            # Never through a link, which could lead anywhere; and never waiting, as a pipe would.
            file = os.open(self._path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            raise NotALogError(f"{self._path.name}: cannot be read: {error.strerror}") from error
        try:
            return os.pread(file, wanted, self._offset)
        except OSError as error:
            raise NotALogError(f"{self._path.name}: cannot be read: {error.strerror}") from error
        finally:
            os.close(file)
