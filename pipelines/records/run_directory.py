"""The directory of one run: its paths, append-only logs, markers of finished stages, and the claim of its one driver."""

from __future__ import annotations

import fcntl
import json
import logging
import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

import yaml
from pydantic import JsonValue

from cluster.files import make_directory, sync, write_atomically
from cluster.task_names import at_stage
from pipelines.experiment import yaml_values
from pipelines.records.changes import Change, changes_between
from pipelines.records.claim import Claim, ClaimError

logger = logging.getLogger(__name__)

DONE = "done.json"
"""the file that marks a stage's folder as finished; it holds the stage's summary"""


class RunDirectoryError(RuntimeError):
    """The run directory cannot be used as asked; the message says why."""


class OtherExperimentError(RunDirectoryError):
    """The directory belongs to a run with other settings; `changes` has a line for each difference."""

    def __init__(self, message: str, changes: Sequence[str]) -> None:
        super().__init__(message)
        self.changes = tuple(changes)


class RunDirectory:
    """One run on disk. It has one writer, the driver that holds the claim; anyone may read."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._claim = Claim(path)
        self.saved: Callable[[], None] = lambda: None
        """called when a stage is done or a checkpoint is whole"""
        self._whole_logs: set[str] = set()

    @property
    def experiment(self) -> Path:
        return self.path / "experiment.yaml"

    @property
    def metrics(self) -> Path:
        return self.path / "metrics.jsonl"

    @property
    def lock(self) -> Path:
        return self._claim.file

    def stage_dir(self, stage: str) -> Path:
        """Return the stage's own directory. It is made if it is missing."""
        path = self.path / "stages" / stage
        make_directory(path)
        return path

    def checkpoints(self, stage: str) -> Path:
        """Return the folder of a stage's checkpoints, made if missing. Write checkpoints to it with `directory_commit`."""
        path = self.stage_dir(stage) / "checkpoints"
        make_directory(path)
        return path

    def finished_checkpoints(self, stage: str) -> list[Path]:
        """Return a stage's checkpoints, which are named by their step, the oldest first. None is half written."""
        return sorted(path for path in self.checkpoints(stage).iterdir() if path.name.isdigit())

    def write_bytes(self, name: str, content: bytes) -> Path:
        """Replace the file `name` of this run as a whole, and return its path."""
        path = self.path / name
        write_atomically(path, content)
        return path

    def write_text(self, name: str, content: str) -> Path:
        """Replace the file `name` as a whole, in UTF-8, and return its path."""
        return self.write_bytes(name, content.encode())

    def write_json(self, name: str, content: object) -> Path:
        """Replace the file `name` as a whole, and return its path. Raises `ValueError` on NaN and infinity."""
        return self.write_text(name, json.dumps(content, indent=2, allow_nan=False) + "\n")

    def append_jsonl(self, name: str, row: Mapping[str, object]) -> None:
        """Add a line to the log `name`. An unfinished last line, which a kill left, is removed first.

        Raises `RunDirectoryError` if the line cannot be written as a whole.
        """
        line = json.dumps(row, allow_nan=False, ensure_ascii=False).encode() + b"\n"
        path = self.path / name
        make_directory(path.parent)
        if name not in self._whole_logs:
            _end_at_a_line(path)
            self._whole_logs.add(name)
        log = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
        try:
            size = os.fstat(log).st_size
            try:
                written = os.write(log, line)
            except OSError as error:
                raise RunDirectoryError(f"{path}: cannot be written: {error.strerror}") from error
            if written < len(line):
                os.ftruncate(log, size)
                raise RunDirectoryError(
                    f"{path}: only {written} of {len(line)} bytes could be written; is the disk full?"
                )
        finally:
            os.close(log)

    def read_jsonl(self, name: str) -> list[dict[str, JsonValue]]:
        """Return the rows of the log `name`; none if it does not exist. An unfinished last line does not count.

        Raises `RunDirectoryError` if the file or another line cannot be read.
        """
        path = self.path / name
        try:
            *lines, last = path.read_bytes().split(b"\n")
        except FileNotFoundError:
            return []
        except OSError as error:
            raise RunDirectoryError(f"{path}: cannot be read: {error.strerror}") from error
        rows = []
        for number, line in enumerate(lines, start=1):
            row = _row(line)
            if row is None:
                raise RunDirectoryError(f"{path}:{number}: not a JSON object: {line[:80].decode(errors='replace')!r}")
            rows.append(row)
        return rows if (row := _row(last)) is None else [*rows, row]

    def share_stages(self, folders: Mapping[str, Path]) -> None:
        """Make each stage's directory a link to its folder in `folders`. Other runs may link to the same folder.

        Raises `OtherExperimentError` if a stage has another directory already.
        """
        for stage, folder in folders.items():
            make_directory(folder)
            link = self.path / "stages" / stage
            make_directory(link.parent)
            if not link.is_symlink() and not link.exists():
                link.symlink_to(folder)
                sync(link.parent)
            if link.resolve() != folder.resolve():
                raise OtherExperimentError(
                    f"{link}: is {link.resolve()} and should be a link to {folder}, which runs share. To do the stage "
                    "again, remove it and the stages that build on it; or choose another run_dir",
                    [f"stages/{stage}: {link.resolve()} -> {folder}"],
                )

    @contextmanager
    def stage(self, stage: str) -> Iterator[bool]:
        """Yield whether the stage is left to do. During the block, tasks are named by it, and no other run does a shared stage.

        If another run is doing the stage, this waits until the stage is done, or until that run ends without finishing it.
        """
        if self.stage_done(stage):
            yield False
            return
        with at_stage(stage), self._sole_run(stage):
            yield not self.stage_done(stage)

    @contextmanager
    def _sole_run(self, stage: str) -> Iterator[None]:
        if not (self.path / "stages" / stage).is_symlink():
            yield
            return
        with open(self.stage_dir(stage) / "lock", "w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                logger.info("waiting for another run, which is doing the stage %s", stage)
                fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def stage_done(self, stage: str) -> bool:
        """Return whether the stage has finished, in this process or an earlier one."""
        return self._marker(stage).exists()

    def mark_done(self, stage: str, summary: Mapping[str, object]) -> None:
        """Record that the stage has finished, with its summary."""
        self.write_json(f"stages/{stage}/{DONE}", dict(summary))
        self.saved()

    def mark_left(self, stage: str) -> None:
        """Record that the stage has to be done again. Its other files stay."""
        marker = self._marker(stage)
        if marker.exists():
            marker.unlink()
            sync(marker.parent)

    def summary(self, stage: str) -> dict[str, JsonValue]:
        """Return a finished stage's summary. Raises `RunDirectoryError` if there is none or it cannot be read."""
        if not self.stage_done(stage):
            raise RunDirectoryError(f"{self.path}: the stage {stage} is not done")
        row = _row(self._marker(stage).read_bytes())
        if row is None:
            raise RunDirectoryError(f"{self._marker(stage)}: not a JSON object; remove it to run the stage again")
        return row

    def _marker(self, stage: str) -> Path:
        return self.path / "stages" / stage / DONE

    def claim(self) -> None:
        """Make this process the run's only driver until `release` or its end.

        Raises `RunDirectoryError`, which names the process that has the claim. A claim ends with its process, even by a kill.
        """
        try:
            self._claim.take()
        except ClaimError as error:
            raise RunDirectoryError(str(error)) from error

    def release(self) -> None:
        """Give the claim up, if this object has it."""
        self._claim.release()

    def __enter__(self) -> RunDirectory:
        self.claim()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    def bind_experiment(
        self,
        resolved_yaml: str,
        may_change: Collection[str] = (),
        completed: Callable[[object], object] = lambda earlier: earlier,
    ) -> None:
        """Bind the directory to one experiment. A new run writes the experiment's file; an old one compares it.

        `completed` adds defaults for missing keys to the earlier experiment's YAML. So a key that is new in the schema is
        no change if it has its default. Keys under the dotted prefixes in `may_change` may differ: the file is then
        updated, and the earlier one kept as `experiment.<n>.yaml`. So is it as long as no stage has begun: a run that
        failed before may be started again in another way. Any other difference raises `OtherExperimentError`, which lists
        the keys with both values.
        """
        if not self.experiment.exists():
            self._unlink_stages()  # of an experiment that was taken back before it began
            self.write_text(self.experiment.name, resolved_yaml)
            return
        changes = self.changes(resolved_yaml, may_change, completed)
        earlier = self.experiment.read_bytes()
        self.refuse(changes)
        if not changes:
            return
        if not all(change.may for change in changes):
            self._unlink_stages()
        number = 1
        while (kept := self.path / f"experiment.{number}.yaml").exists():
            number += 1
        write_atomically(kept, earlier)
        self.write_text(self.experiment.name, resolved_yaml)

    def changes(
        self,
        resolved_yaml: str,
        may_change: Collection[str] = (),
        completed: Callable[[object], object] = lambda earlier: earlier,
    ) -> list[Change]:
        """Return how the experiment differs from the run's, key by key. See `bind_experiment`. Nothing is written."""
        try:
            before = completed(yaml_values.read(self.experiment.read_bytes()))
        except yaml.YAMLError as error:
            raise RunDirectoryError(f"{self.experiment}: cannot be read as YAML: {error}") from error
        except OSError as error:
            raise RunDirectoryError(f"{self.experiment}: cannot be read: {error.strerror}") from error
        return changes_between(before, yaml_values.read(resolved_yaml), may_change)

    def refuse(self, changes: Sequence[Change]) -> None:
        """Raise `OtherExperimentError` if there are changes that a run which has begun may not have."""
        refused = [str(change) for change in changes if not change.may]
        if refused and self._begun():
            raise OtherExperimentError(
                f"{self.path} is the run of another experiment; undo these changes or choose another directory:\n"
                + "\n".join(f"  {change}" for change in refused),
                refused,
            )

    def _begun(self) -> bool:
        """Return whether a stage has begun, or anything was logged. Links to shared stages are made before that."""
        stages = self.path / "stages"
        return self.metrics.exists() or (stages.is_dir() and not all(map(Path.is_symlink, stages.iterdir())))

    def _unlink_stages(self) -> None:
        """Remove the links to shared stages, since another experiment shares others, unless the run has begun."""
        stages = self.path / "stages"
        if stages.is_dir() and not self._begun():
            for link in stages.iterdir():
                link.unlink()


def _row(line: bytes) -> dict[str, JsonValue] | None:
    try:
        row = json.loads(line)
    except ValueError:
        return None
    return row if isinstance(row, dict) else None


def _end_at_a_line(path: Path) -> None:
    """Remove an unfinished last line. A complete last line that lacks only its newline gets one."""
    if not path.exists():
        return
    with path.open("r+b") as log:
        start = size = log.seek(0, os.SEEK_END)
        tail = b""
        while start > 0 and b"\n" not in tail:
            step = min(start, 65536)
            start -= step
            log.seek(start)
            tail = log.read(step) + tail
        last = tail[tail.rfind(b"\n") + 1 :]
        if not last:
            return
        if _row(last) is not None:
            log.seek(size)
            log.write(b"\n")
        else:
            log.truncate(size - len(last))
