"""Finds all processes of a command, also those that have left its process group: by a variable of their environment."""

from __future__ import annotations

import re
import uuid
from pathlib import Path

_TITLE = re.compile(r"ray::(?:[\w-]+:)?(?!IDLE)([A-Z]\w+)(?:\.\w+)? *$")


class Mark:
    """A variable that all processes of a command inherit."""

    def __init__(self) -> None:
        self.name, self.value = "RELAY_MARKED_RUN", uuid.uuid4().hex
        self._classes: dict[int, str] = {}

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
        self._learn(found)
        return found

    def actors(self, role: str) -> list[int]:
        """Return the processes of the Ray actors of a class, such as "RolloutWorker".

        Ray shows the class while the actor starts and while it is idle, and otherwise what it does. So the class is known of a
        process only if it was seen before: call `processes` now and then.
        """
        return [pid for pid in self.processes() if self._classes.get(pid) == role]

    def _learn(self, found: dict[int, str]) -> None:
        self._classes = {pid: name for pid, name in self._classes.items() if pid in found}
        for pid, command in found.items():
            if (title := _TITLE.match(command)) is not None:
                self._classes[pid] = title[1]
