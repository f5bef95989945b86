"""Turns a row of a data set into a problem: which columns hold question, gold answer and options, and how to read them."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from string import ascii_uppercase

from pipelines.data.problem import Problem
from rewards.answers import extract_answer
from rewards.layout import canonical, plain
from rewards.verification import MAX_ANSWER_CHARS

GoldReader = Callable[[object], str]
"""turns a column's value into the gold answer; raises `RowError`"""

LETTER_INSTRUCTION = "Answer with the letter of the right option."

_LETTER = re.compile(r"\(?([A-Z])\)?\.?")
_PARENTHESISED_LETTER = re.compile(r"\(([A-Z])\)")
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")
_ABSENT = object()


class RowError(ValueError):
    """A row cannot be read as a problem; the message says what is wrong with it."""


@dataclass(frozen=True, slots=True)
class ProblemColumns:
    """Where a problem's parts are in a row. A column of a nested row is written `outer.0.inner`."""

    question: tuple[str, ...]
    """the first of these columns that the row has"""
    gold: tuple[tuple[str, GoldReader], ...]
    """the first of these columns that the row has, and how it is read"""
    options: str | None = None
    """the list of options of a multiple-choice set, whose gold answers are letters"""
    lettered_golds: bool = False
    """a gold answer like `(C)` is the letter of an option that the question lists itself"""
    instructions: tuple[str, str] = ("", "")
    """text before and after every question; it is removed, since prompts are made elsewhere"""


def problem_of(row: Mapping[str, object], columns: ProblemColumns, kind: str) -> Problem:
    """Return the row's problem. Raises `RowError`."""
    name, value = _first(row, columns.question)
    if not isinstance(value, str):
        raise RowError(f"column {name!r} should be text, not {_shown(value)}")
    _check_characters(name, value)
    before, after = columns.instructions
    question = value.strip().removeprefix(before).removesuffix(after).strip()
    if not any(character.isprintable() and not character.isspace() for character in question):
        raise RowError(f"column {name!r} is empty")
    name, value = _first(row, tuple(column for column, _ in columns.gold))
    try:
        gold = dict(columns.gold)[name](value)
    except RowError as error:
        raise RowError(f"column {name!r} {error}") from None
    _check_characters(name, gold)
    if len(gold) > MAX_ANSWER_CHARS:
        raise RowError(
            f"column {name!r} has {len(gold):,} characters, and an answer of more than {MAX_ANSWER_CHARS:,} is never right"
        )
    if not plain(canonical(gold)):
        raise RowError(f"column {name!r} has nothing that can be compared: {gold!r}")
    if columns.options is not None:
        options = _options(row, columns.options)
        return Problem(_with_options(question, options), _letter(gold, name, len(options)), kind, "option")
    if columns.lettered_golds and (letter := _PARENTHESISED_LETTER.fullmatch(gold)):
        return Problem(question, letter[1], kind, "option")
    return Problem(question, gold, kind)


def written(value: object) -> str:
    """Return text or a number as it would be written in a box: 27.0 as 27."""
    if isinstance(value, float):
        if not math.isfinite(value):
            raise RowError(f"should be text or a number, not {value}")
        return str(int(value)) if value.is_integer() else repr(value)
    if isinstance(value, Decimal) and value.is_finite():
        return f"{value:f}"
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise RowError("is empty" if value is None else f"should be text or a number, not {_shown(value)}")
    text = str(value).strip()
    if not text:
        raise RowError("is empty")
    return text


def after_hashes(value: object) -> str:
    """Return what follows the last `####`, as in GSM8K."""
    text = written(value)
    if "####" not in text:
        raise RowError(f"has no '####' before a final answer: {_shown(text)}")
    return written(text.rsplit("####", 1)[1])


def last_box(value: object) -> str:
    """Return the content of a solution's last box."""
    text = written(value)
    boxed = extract_answer(text)
    if boxed is None:
        raise RowError(f"has no \\boxed{{}} with a final answer: {_shown(text)}")
    return written(boxed)


def joined(value: object) -> str:
    """Return a list's items as one answer, separated by commas, as in OlympiadBench."""
    if not isinstance(value, list | tuple):
        raise RowError("is empty" if value is None else f"should be a list of answers, not {_shown(value)}")
    if not value:
        raise RowError("is empty")
    return ", ".join(written(item) for item in value)


def _check_characters(column: str, text: str) -> None:
    if lone := _LONE_SURROGATE.search(text):
        raise RowError(
            f"column {column!r} has half of a character, {lone[0]!r}, at character {lone.start() + 1}: text was cut inside it"
        )


def _first(row: Mapping[str, object], columns: Sequence[str]) -> tuple[str, object]:
    for column in columns:
        value = _look_up(row, column)
        if value is not _ABSENT:
            return column, value
    wanted = " or ".join(repr(column) for column in columns)
    raise RowError(f"there is no column {wanted}; the row has {sorted(map(str, row))}")


def _look_up(row: object, column: str) -> object:
    if isinstance(row, Mapping) and column in row:
        return row[column]
    outer, _, inner = column.partition(".")
    if not inner:
        return row[int(outer)] if isinstance(row, list) and outer.isdecimal() and int(outer) < len(row) else _ABSENT
    below = _look_up(row, outer)
    return _ABSENT if below is _ABSENT else _look_up(below, inner)


def _options(row: Mapping[str, object], column: str) -> list[str]:
    name, value = _first(row, (column,))
    if not isinstance(value, list) or not 2 <= len(value) <= len(ascii_uppercase):
        raise RowError(f"column {name!r} should be a list of 2 to 26 options, not {_shown(value)}")
    try:
        options = [written(option) for option in value]
    except RowError as error:
        raise RowError(f"an option in column {name!r} {error}") from None
    for option in options:
        _check_characters(name, option)
    return options


def _with_options(question: str, options: Sequence[str]) -> str:
    lines = [f"({letter}) {option}" for letter, option in zip(ascii_uppercase, options, strict=False)]
    return "\n".join([question, "", *lines, "", LETTER_INSTRUCTION])


def _letter(gold: str, column: str, options: int) -> str:
    found = _LETTER.fullmatch(gold)
    last = ascii_uppercase[options - 1]
    if found is None or found[1] > last:
        raise RowError(f"column {column!r} should be the letter of an option, A to {last}, not {_shown(gold)}")
    return found[1]


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
