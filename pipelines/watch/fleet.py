"""All runs under some folders: finds them, and reads what is new in each."""

from __future__ import annotations

import hashlib
import os
import re
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

from pipelines.watch.claims import Locks
from pipelines.watch.reader import RunReader
from pipelines.watch.state import FleetState, RunDetail, RunState
from pipelines.watch.tail import Budget

_BYTES_PER_REFRESH = 32 << 20
_MOST_RUNS = 500
_MOST_FOLDERS = 5000
_DEPTH = 4
"""runs are looked for so many folders deep"""
_OTHERS = frozenset({"stages", "shared", "figures", "wandb", "model", "checkpoints"})
_SIGNS = ("experiment.yaml", "metrics.jsonl")
"""a folder with one of these files is a run. Studies and sweeps have a `run.lock` too, and their runs are below them"""
_ORDER = {"running": 1, "elsewhere": 2}


class Fleet:
    """The runs under `folders`. Only they can be reached: by their id, and never by a path."""

    def __init__(self, folders: Sequence[Path], bytes_per_refresh: int = _BYTES_PER_REFRESH) -> None:
        self._folders = list(folders)
        self._bytes_per_refresh = bytes_per_refresh
        self._readers: dict[Path, RunReader] = {}
        self._turn = 0
        self._reading = threading.Lock()
        self.bytes_read = 0
        """of all refreshes together"""

    def refresh(self) -> FleetState:
        """Read what is new, up to the bytes of one refresh, and return the state of all runs."""
        with self._reading:
            remarks = self._find()
            budget, locks = Budget(self._bytes_per_refresh), Locks.now()
            readers = list(self._readers.values())
            self._turn += 1
            first = self._turn % max(len(readers), 1)
            states = {reader.id: reader.refresh(budget, locks) for reader in readers[first:] + readers[:first]}
            self.bytes_read += budget.read
            return FleetState(
                folders=tuple(map(str, self._folders)),
                runs=tuple(sorted(states.values(), key=_place)),
                remarks=tuple(remarks),
                behind_bytes=sum(state.behind_bytes for state in states.values()),
            )

    def detail(self, id: str) -> RunDetail | None:
        """Return one run with all that its page shows; None if no run has this id."""
        with self._reading:
            if (reader := self._reader(id)) is None:
                return None
            budget = Budget(self._bytes_per_refresh)
            detail = reader.detail(budget, Locks.now())
            self.bytes_read += budget.read
            return detail

    def report(self, id: str) -> bytes | None:
        """Return a run's report.html; None if there is none, or if it is a link."""
        if (reader := self._reader(id)) is None:
            return None
        try:
            file = os.open(reader.run / "report.html", os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
            with os.fdopen(file, "rb") as report:
                return report.read()
        except OSError:
            return None

    def _reader(self, id: str) -> RunReader | None:
        return next((reader for reader in list(self._readers.values()) if reader.id == id), None)

    def _find(self) -> list[str]:
        """Bring the readers in line with the runs that there are. Return what was left out, one sentence each."""
        remarks: list[str] = []
        found: dict[Path, str] = {}
        for folder in self._folders:
            if not folder.is_dir():
                remarks.append(f"{folder} is no folder.")
                continue
            alike = [other for other in self._folders if other.name == folder.name]
            prefix = "" if len(self._folders) == 1 else f"{folder if len(alike) > 1 else folder.absolute().name}/"
            for run in _runs(folder, remarks):
                if len(found) == _MOST_RUNS:
                    remarks.append(f"There are more than {_MOST_RUNS} runs; the others are left out.")
                    break
                label = folder.absolute().name if run == folder else f"{prefix}{run.relative_to(folder)}"
                found.setdefault(run, label)
        self._readers = {run: self._readers.get(run) or RunReader(run, _id(run), label) for run, label in found.items()}
        return remarks


def _runs(folder: Path, remarks: list[str]) -> Iterator[Path]:
    """Yield the run directories at and below a folder, in alphabetical order, and remark what is left out. Links are not followed."""
    waiting, seen = [(folder, 0)], 0
    while waiting and seen < _MOST_FOLDERS:
        seen += 1
        at, depth = waiting.pop()
        try:
            entries = sorted(os.scandir(at), key=lambda entry: entry.name, reverse=True)
        except OSError:
            continue
        if any(entry.name in _SIGNS for entry in entries):
            yield at
        elif depth < _DEPTH:
            below = (one for one in entries if one.name not in _OTHERS and not one.name.startswith("."))
            waiting += [(Path(one.path), depth + 1) for one in below if one.is_dir(follow_symlinks=False)]
    if waiting:
        remarks.append(f"{folder} has more than {_MOST_FOLDERS} folders; runs in the others are left out.")


def _id(run: Path) -> str:
    """Return a name for addresses: readable, and different for each folder."""
    words = re.sub(r"[^a-z0-9]+", "-", run.name.lower()).strip("-")[:40] or "run"
    return f"{words}-{hashlib.sha256(os.fsencode(run.absolute())).hexdigest()[:8]}"


def _place(run: RunState) -> tuple[int, float, str]:
    """Return the run's place in the list: first what needs a look, then what runs, then the newest."""
    rank = 0 if run.needs_a_look else _ORDER.get(run.life, 3)
    goes_on = run.life in _ORDER  # its last line is always new, so that its place would change all the time
    return rank, 0.0 if goes_on else -(run.written_at or 0.0), run.label
