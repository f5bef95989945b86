"""Says whether a run has a driver, without touching its lock: a try to lock it could refuse a driver that starts."""

from __future__ import annotations

import re
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import psutil

_HOLDER = re.compile(r"pid (\d{1,10}) on (\S{1,255})")
_LOCKS = Path("/proc/locks")


@dataclass(frozen=True, slots=True)
class Claim:
    """Who holds a run, as far as this machine can see."""

    state: Literal["none", "held", "free", "elsewhere"]
    """none: no driver has ever claimed the run; elsewhere: the last one ran on another machine, whose locks are not seen here"""
    host: str | None = None
    pid: int | None = None


@dataclass(frozen=True, slots=True)
class Locks:
    """The file locks of this machine's processes at one moment."""

    held: frozenset[tuple[int, int]] | None
    """process id and inode; None where the system does not list them"""

    @classmethod
    def now(cls) -> Locks:
        try:
            lines = _LOCKS.read_text(encoding="ascii", errors="replace").splitlines()
        except OSError:
            return cls(None)
        found = re.findall(r" (\d+) [0-9a-f]+:[0-9a-f]+:(\d+) ", "\n".join(lines))
        return cls(frozenset((int(pid), int(inode)) for pid, inode in found))

    def claim(self, lock: Path) -> Claim:
        """Return the claim that a run's lock file tells of."""
        try:
            with lock.open("rb") as file:
                text = file.read(512).decode(errors="replace")
            inode = lock.stat().st_ino
        except OSError:
            return Claim("none")
        found = _HOLDER.match(text)
        if found is None:
            return Claim("free")
        pid, host = int(found[1]), found[2]
        if host != socket.gethostname():
            return Claim("elsewhere", host, pid)
        held = psutil.pid_exists(pid) if self.held is None else (pid, inode) in self.held
        return Claim("held" if held else "free", host, pid)
