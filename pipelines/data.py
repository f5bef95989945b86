"""Data sources: from the settings of one to its problems."""

from __future__ import annotations

import json
from dataclasses import dataclass

from pipelines.experiment import ChainArithmeticSource, DataSettings, DataSource, JsonlSource
from pipelines.problems import Problem
from pipelines.tasks.chain_arithmetic import Split, problems


@dataclass(frozen=True, slots=True)
class ProblemSets:
    """The problems of a run."""

    train: list[Problem]
    """before the filter"""
    evaluation: list[Problem]


class DataError(ValueError):
    """A data file cannot be used; the message names the file and the row."""


def load_problem_sets(data: DataSettings) -> ProblemSets:
    """Return all problems of a run; disjoint ones where a synthetic task draws them. Raises `DataError`."""
    return ProblemSets(load_problems(data.train, Split.TRAIN), load_problems(data.evaluation, Split.EVALUATION))


def load_problems(source: DataSource, split: Split) -> list[Problem]:
    """Return the problems of `source`; a synthetic task draws them from `split`. Raises `DataError`."""
    match source:
        case ChainArithmeticSource():
            try:
                found = problems(source.counts, split, source.seed, source.lengths, source.form, source.kind_prefix)
            except ValueError as error:
                raise DataError(f"{source.source}: {error}") from error
        case JsonlSource():
            found = _from_jsonl(source)
    if not found:
        raise DataError(f"{source.path if isinstance(source, JsonlSource) else source.source}: no problems")
    return found


def _from_jsonl(source: JsonlSource) -> list[Problem]:
    if not source.path.is_file():
        raise DataError(f"{source.path}: no such file")
    with source.path.open(encoding="utf-8") as file:
        lines = list(file)
    found = []
    for number, line in enumerate(lines, start=1):
        where = f"{source.path}, row {number}"
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise DataError(f"{where}: not JSON: {error}") from error
        if not isinstance(row, dict):
            raise DataError(f"{where}: should be an object with the keys {source.question!r} and {source.answer!r}")
        values = []
        for key in (source.question, source.answer):
            value = row.get(key)
            if value is None or not str(value).strip():
                raise DataError(f"{where}: key {key!r} is missing or empty; the row has {sorted(row)}")
            values.append(str(value))
        found.append(Problem(question=values[0], gold=values[1], kind=source.kind))
    return found
