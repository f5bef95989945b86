"""Finds all processes of a command, also those that have left its process group: by a variable of their environment."""

from __future__ import annotations

import uuid
from pathlib import Path


class Mark:
    """A variable that all processes of a command inherit."""

    def __init__(self) -> None:
        self.name, self.value = "RELAY_MARKED_RUN", uuid.uuid4().hex

    @property
    def environment(self) -> dict[str, str]:
        """What to add to the environment of the command."""
        return {self.name: self.value}

    def processes(self) -> dict[int, str]:
        """Return the process ids that have the mark, with the beginning of their command lines."""
        mark, found = f"{self.name}={self.value}".encode(), {}
        for process in Path("/proc").glob("[0-9]*"):
            try:
                if mark in (process / "environ").read_bytes():
                    found[int(process.name)] = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode()[:200]
            except OSError:  # ended meanwhile
                continue
        return found

    def actors(self, role: str) -> list[int]:
        """Return the processes of the Ray actors of a class, such as "RolloutWorker"."""
        return [pid for pid, command in self.processes().items() if command.startswith(f"ray::{role}")]
