"""What is fuzzed: each target takes any bytes, and raises an error if the code did not do what it promises."""

from __future__ import annotations

import json
import resource
import signal
import tempfile
from collections.abc import Callable
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from types import FrameType

from actors.model_folder import FolderProblem, check_model_folder
from actors.relay.grammar import CommandGrammar, CommandKind, parse_commands, settled_end, without_commands
from pipelines.data.chain_arithmetic.task import Split
from pipelines.data.settings import FileSource
from pipelines.data.sources import DataError, load_source
from pipelines.experiment.errors import ConfigError
from pipelines.experiment.loading import load, resolved_yaml
from pipelines.experiment.schema import Experiment
from pipelines.study.settings import StudySettings
from pipelines.sweep.settings import SweepSettings
from rewards.answers import answer_span, extract_answer
from rewards.verification import MAX_ANSWER_CHARS, verify_quickly, verify_symbolically
from tests.model_folder import tensors
from tests.pipelines.small import SMALL
from tests.scripted import PieceTokenizer

Target = Callable[[bytes], None]
_FOLDER = Path(tempfile.mkdtemp(prefix="fuzz-"))
_PIECES = [
    "<call>",
    "</call>",
    "<",
    "</",
    "call",
    ">",
    ">\n",
    "x<",
    "/",
    "1",
    "0",
    "12",
    "a",
    "\n",
    " ",
    "1</call><call>",
]
_TOKENIZER = PieceTokenizer([*_PIECES, *"</>calx"])
_MODEL_FILES = ("config.json", "tokenizer.json", "model.safetensors", "model.safetensors.index.json")
_MODELS = (Experiment, StudySettings, SweepSettings)
_SECONDS = 2


class TookTooLong(BaseException):
    """Symbolic algebra may take any time: in a run, its process is killed."""


def settings_file(data: bytes) -> None:
    """The first byte picks the kind of file. It loads, and can be written and read again, or its problems are listed."""
    model = _MODELS[data[0] % len(_MODELS)] if data else Experiment
    path, again = _FOLDER / "settings.yaml", _FOLDER / "again.yaml"
    path.write_bytes(data[1:])
    try:
        loaded = load(path, [], model)
    except ConfigError as error:
        _check_lines(error.problems)
        return
    again.write_text(resolved_yaml(loaded), encoding="utf-8")
    assert load(again, [], model) == loaded


def overrides(data: bytes) -> None:
    """Overrides of the smallest experiment, separated by a zero byte."""
    path = _FOLDER / "small.yaml"
    path.write_text(SMALL)
    try:
        load(path, data.decode("utf-8", "surrogateescape").split("\0"), Experiment)
    except ConfigError as error:
        _check_lines(error.problems)


def data_file(data: bytes) -> None:
    """The first byte picks the format and what is done with bad rows. Problems come out, or an error that names the file."""
    kind = data[0] if data else 0
    path = _FOLDER / ("data.parquet" if kind % 2 else "data.jsonl")
    path.write_bytes(data[1:])
    source = FileSource(
        source="file",
        path=path,
        kind="fuzzed",
        options="options" if kind & 4 else None,
        bad_rows="skip" if kind & 2 else "stop",
    )
    try:
        found = load_source(source, Split.TRAIN)
    except DataError as error:
        _check_lines((str(error),), of=path)
        return
    for problem in found.problems:
        problem.question.encode()
        problem.gold.encode()
        assert problem.question.strip() and problem.gold.strip()
    assert len(found.problems) == len(found.rows) == len(found.places)


def model_folder(data: bytes) -> None:
    """The first byte picks a file of a model's folder, the rest is its content."""
    contents = {
        "config.json": b"{}",
        "tokenizer.json": b'{"model": {"vocab": {"a": 0}}}',
        "model.safetensors": tensors(2),
    }
    if data:
        contents[_MODEL_FILES[data[0] % len(_MODEL_FILES)]] = data[1:]
    (_FOLDER / _MODEL_FILES[-1]).unlink(missing_ok=True)
    for name, content in contents.items():
        (_FOLDER / name).write_bytes(content)
    with suppress(FolderProblem):
        check_model_folder(_FOLDER)


def grammar(data: bytes) -> None:
    """Commands do not overlap, each tag belongs to one of them, and ids lose what their text loses."""
    text = data.decode("utf-8", "replace")
    commands = parse_commands(text)
    tags = sum(text[one.start : one.end].count(tag) for one in commands for tag in ("<call>", "</call>"))
    assert tags == text.count("<call>") + text.count("</call>")
    assert all(one.end <= other.start for one, other in pairwise(commands))
    assert all((one.requested_tokens > 0) == (one.kind is CommandKind.VALID) for one in commands)
    assert 0 <= settled_end(text) <= len(text)
    assert (
        without_commands(text[: settled_end(text)])
        == without_commands(text)[: len(without_commands(text[: settled_end(text)]))]
    )
    ids = [1 + byte % len(_PIECES) for byte in data]
    assert _TOKENIZER.decode(CommandGrammar(_TOKENIZER).strip(ids)) == without_commands(_TOKENIZER.decode(ids))


def answer(data: bytes) -> None:
    """An answer and a gold answer, separated by a zero byte, are compared without an error. Only a short one is ever right."""
    text, gold = _answer_and_gold(data)
    for whole in (text, f"\\boxed{{{text}}}"):
        found, span = extract_answer(whole), answer_span(whole)
        assert (found is None) == (span is None) and (span is None or 0 <= span[0] <= span[1] <= len(whole))
    for form in ("free", "option"):
        decided = verify_quickly(text, gold, form)  # type: ignore[arg-type]
        assert decided in (True, False, None)
        assert decided is not True or (text.strip() and len(text) <= MAX_ANSWER_CHARS)
    json.loads(json.dumps([text, gold]))


def algebra(data: bytes) -> None:
    """The same by symbolic algebra, which may take too long or too much memory, and never raises."""
    text, gold = _answer_and_gold(data)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    before = signal.signal(signal.SIGALRM, _too_long)
    signal.alarm(_SECONDS)
    try:
        assert verify_symbolically(text, gold) in (True, False)
    except TookTooLong:
        pass
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


TARGETS: dict[str, Target] = {
    one.__name__: one for one in (settings_file, overrides, data_file, model_folder, grammar, answer, algebra)
}


def _check_lines(problems: tuple[str, ...], of: Path | None = None) -> None:
    assert problems and all(line.strip() and line.isprintable() for line in problems), problems
    assert of is None or all(str(of) in line for line in problems), problems


def _answer_and_gold(data: bytes) -> tuple[str, str]:
    text, _, gold = data.decode("utf-8", "replace").partition("\0")
    return text, gold


def _too_long(_: int, __: FrameType | None) -> None:
    raise TookTooLong
