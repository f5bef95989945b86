"""The file of answers while it grows: rows that are there are not asked again, and at the end all stand in the input's order."""

from __future__ import annotations

import fcntl
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from io import BufferedRandom
from pathlib import Path
from typing import Any

from cluster.files import make_directory, write_atomically
from pipelines.generation.rows import InputError

Answer = dict[str, Any]
"""a line of the output: line, id, answer, finish_reason, relay, usage, error"""

_AGAIN = "give another --output, or --overwrite to begin anew"


@dataclass(frozen=True, slots=True)
class Origin:
    """What the answers were made from and with. Only answers of one origin stand in a file."""

    input_sha256: str
    model: str | None
    options: Mapping[str, Any]

    def difference(self, before: Mapping[str, Any]) -> str | None:
        """Return in plain words what has changed since `before` was written, or None."""
        if before.get("input_sha256") != self.input_sha256:
            return "the input is not the one that these answers were begun with"
        if self.model is not None and before.get("model") != self.model:
            return f"the answers were begun with model {before.get('model')}, and now it is {self.model}"
        old = before.get("options") if isinstance(before.get("options"), dict) else {}
        assert isinstance(old, dict)
        changed = [
            f"{name} was {_said(old.get(name))} and is {_said(self.options.get(name))}"
            for name in dict.fromkeys([*old, *self.options])
            if old.get(name) != self.options.get(name)
        ]
        return "; ".join(changed) or None

    def content(self) -> bytes:
        """Return what stands in the file beside the answers."""
        said = {"input_sha256": self.input_sha256, "model": self.model, "options": self.options}
        return (json.dumps(said, indent=2, sort_keys=True) + "\n").encode()


class AnswerFile:
    """The open file. Only `opened` makes one."""

    def __init__(self, path: Path, file: BufferedRandom, kept: dict[int, Answer]) -> None:
        self._path, self._file = path, file
        self.answers = kept
        """by the line of their question"""

    def add(self, answer: Answer) -> None:
        """Write an answer. It is on disk for the next process when this returns."""
        self.answers[answer["line"]] = answer
        self._file.write(_line(answer))
        self._file.flush()

    def put_in_order(self, complete: Callable[[Answer], Answer] = lambda answer: answer) -> None:
        """Write all answers anew, in the order of their questions; `complete` may add to each."""
        self.answers = {line: complete(self.answers[line]) for line in sorted(self.answers)}
        write_atomically(self._path, b"".join(map(_line, self.answers.values())))


@contextmanager
def opened(path: Path, origin: Origin, overwrite: bool = False) -> Iterator[AnswerFile]:
    """Yield the file of answers with those that it already has, apart from failed ones. At the end it is put in order.

    A last line that was half written is removed. Beside it, `<name>.origin.json` says what the answers were made from.
    Raises `InputError` if that was something else, or if another process writes the file.
    """
    make_directory(path.parent)
    with path.open("ab+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise InputError(f"another process is writing {path}") from None
        if overwrite:
            file.truncate(0)
        else:
            check(path, origin)
        write_atomically(_beside(path), origin.content())
        answers = AnswerFile(path, file, _kept(path, file))
        try:
            yield answers
        finally:
            answers.put_in_order()


def check(path: Path, origin: Origin) -> None:
    """Raise `InputError` if the file has answers of another origin. An origin without a model fits any model."""
    if not path.exists():
        return
    beside = _beside(path)
    if beside.exists():
        if (difference := origin.difference(_origin_in(beside))) is not None:
            raise InputError(f"{path} cannot be gone on with: {difference}. To go on, undo that; else {_AGAIN}")
    elif path.stat().st_size:
        raise InputError(f"{path} exists, and this command did not write it: {_AGAIN}")


def _beside(path: Path) -> Path:
    return path.with_name(f"{path.name}.origin.json")


def _origin_in(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(path.read_bytes())
    except ValueError:
        data = None
    if not isinstance(data, dict):
        raise InputError(f"{path} cannot be read as what the answers beside it were made from: {_AGAIN}")
    return data


def _kept(path: Path, file: BufferedRandom) -> dict[int, Answer]:
    """Return the answers in the file, without those that failed, and cut a half-written last line off."""
    file.seek(0)
    content = file.read()
    whole = content.rfind(b"\n") + 1
    if whole < len(content):
        file.truncate(whole)
    kept: dict[int, Answer] = {}
    for number, line in enumerate(content[:whole].splitlines(), start=1):
        try:
            answer = json.loads(line)
            place = answer["line"]
            if answer["error"] is None:
                kept[place] = answer
        except (ValueError, TypeError, KeyError):
            raise InputError(f"{path}, line {number} is no answer of this command: {_AGAIN}") from None
    return kept


def _line(answer: Answer) -> bytes:
    return (json.dumps(answer, ensure_ascii=False) + "\n").encode(errors="replace")


def _said(value: object) -> str:
    return "not given" if value is None else json.dumps(value, ensure_ascii=False)
