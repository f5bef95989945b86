"""Loads the problems of a run from its data sources, and records which rows were taken."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import Any, TypeVar

from actors.settings import SamplingSettings
from pipelines.data.benchmarks import BENCHMARKS
from pipelines.data.chain_arithmetic.task import Split, problems
from pipelines.data.parsing import ProblemColumns, RowError, problem_of, written
from pipelines.data.problem import Problem
from pipelines.data.readers import DataError, Row, rows_of_hub, rows_of_path
from pipelines.data.settings import (
    BadRows,
    BenchmarkSource,
    ChainArithmeticSource,
    DataSettings,
    EvaluationKeys,
    FileSource,
    SourceSettings,
)

logger = logging.getLogger(__name__)

_REASONS_LOGGED = 5


@dataclass(frozen=True, slots=True)
class ProblemSet:
    """The problems of one source."""

    name: str
    problems: tuple[Problem, ...]
    rows: tuple[int, ...]
    """index of each problem's row in the source, from 0; it depends only on the source's seed and content"""
    places: tuple[str, ...]
    """where each problem is: the file and the row's number, from 1"""
    skipped: tuple[str, ...]
    """rows left out, each with its place and the reason"""
    bad_rows: BadRows

    @property
    def kinds(self) -> tuple[str, ...]:
        """The names under which results are reported, sorted."""
        return tuple(sorted({problem.kind for problem in self.problems}))

    def record(self) -> dict[str, Any]:
        """Return which rows were taken and skipped, as JSON; rows as ranges [first, last]."""
        return {
            "name": self.name,
            "problems": len(self.problems),
            "rows": _ranges(self.rows),
            "skipped": list(self.skipped),
        }


@dataclass(frozen=True, slots=True)
class EvaluationSet(ProblemSet):
    """The problems of one evaluation source, and how each is answered."""

    samples_per_problem: int
    sampling: SamplingSettings | None
    """`evaluation.sampling` if None"""

    @property
    def answers(self) -> int:
        """Answers to all its problems together."""
        return len(self.problems) * self.samples_per_problem

    def record(self) -> dict[str, Any]:
        sampling = None if self.sampling is None else self.sampling.model_dump()
        return ProblemSet.record(self) | {"samples": self.samples_per_problem, "sampling": sampling}


@dataclass(frozen=True, slots=True)
class ProblemSets:
    """All problems of a run."""

    train: ProblemSet
    """before the filter"""
    warmup: tuple[ProblemSet, ...]
    """empty if the warm-up takes the training problems"""
    evaluation: tuple[EvaluationSet, ...]

    def record(self) -> dict[str, Any]:
        """Return which rows of each source were taken, as JSON."""
        return {
            "train": self.train.record(),
            "warmup": [found.record() for found in self.warmup],
            "evaluation": [found.record() for found in self.evaluation],
        }


AnySet = TypeVar("AnySet", bound=ProblemSet)


def load_problem_sets(data: DataSettings, warms_up: bool = True) -> ProblemSets:
    """Return all problems of a run. Evaluation problems of a synthetic task are in no other set. Raises `DataError`."""
    train = _named("data.train", data.train)
    warmup = tuple(_named(f"data.warmup.{i}", source) for i, source in enumerate(data.warmup) if warms_up)
    evaluation = (_evaluation_set(f"data.evaluation.{i}", source) for i, source in enumerate(data.evaluation))
    return ProblemSets(train, warmup, tuple(evaluation))


def source_paths(data: DataSettings, warms_up: bool = True) -> dict[str, tuple[SourceSettings, Path]]:
    """Return the sources that have a path, by their keys."""
    named: dict[str, SourceSettings] = {"data.train": data.train}
    named |= {f"data.evaluation.{i}": source for i, source in enumerate(data.evaluation)}
    if warms_up:
        named |= {f"data.warmup.{i}": source for i, source in enumerate(data.warmup)}
    paths = {key: getattr(source, "path", None) for key, source in named.items()}
    return {key: (named[key], path) for key, path in paths.items() if path is not None}


def check_local_sources(data: DataSettings, warms_up: bool = True, passed_over: Collection[str] = ()) -> None:
    """Read the sources that have a path, so that what is wrong with them is known before a run. Raises `DataError`.

    Those at the keys in `passed_over` are not read, because they are on another machine.
    """
    for key, (source, _) in source_paths(data, warms_up).items():
        if key not in passed_over:
            _named(key, source)


def _named(key: str, source: SourceSettings, split: Split = Split.TRAIN) -> ProblemSet:
    """Return the problems of the source at a key. Raises `DataError`, which names the key."""
    try:
        return load_source(source, split)
    except DataError as error:
        raise DataError(f"{key}: {error}") from error


def load_source(source: SourceSettings, split: Split) -> ProblemSet:
    """Return the problems of `source`; a synthetic task draws them from `split`. Raises `DataError`."""
    name = source.label
    match source:
        case ChainArithmeticSource():
            try:
                drawn = problems(source.counts, split, source.seed, source.lengths, source.form, source.kind_prefix)
            except ValueError as error:
                raise DataError(f"{name}: {error}") from error
            places = tuple(f"{name}, problem {number}" for number in range(1, len(drawn) + 1))
            found = ProblemSet(name, tuple(drawn), tuple(range(len(drawn))), places, (), source.bad_rows)
        case BenchmarkSource():
            found = _benchmark(source)
        case FileSource():
            columns = ProblemColumns((source.question,), ((source.answer, written),), source.options)
            found = _parsed(name, rows_of_path(source.path), columns, source.bad_rows)
        case _:
            raise TypeError(f"no loader for {type(source).__name__}")
    if not found.problems:
        where = source.path if isinstance(source, FileSource) else name
        raise DataError(f"{where}: no problems" + (f", {len(found.skipped)} rows skipped" if found.skipped else ""))
    return _sampled(found, source.limit, source.seed)


def check_prompt_lengths(found: AnySet, prompt_tokens: Sequence[int], limit: int) -> AnySet:
    """Return the problems whose prompts have at most `limit` tokens; a longer one is a bad row of its source.

    `prompt_tokens` are the lengths of the problems' prompts, in order. Raises `DataError`.
    """
    kept: list[int] = []
    skipped: list[str] = []
    for index, tokens in enumerate(prompt_tokens):
        if tokens <= limit:
            kept.append(index)
        else:
            _refuse(
                found.places[index],
                f"the prompt has {tokens} tokens, and there is room for {limit}",
                found.bad_rows,
                skipped,
            )
    if not kept:
        raise DataError(f"{found.name}: no prompt has at most {limit} tokens")
    _log_skipped(found.name, skipped)
    return replace(_taken(found, kept), skipped=(*found.skipped, *skipped))


def _evaluation_set(key: str, source: EvaluationKeys) -> EvaluationSet:
    found = _named(key, source, Split.EVALUATION)
    return EvaluationSet(
        found.name,
        found.problems,
        found.rows,
        found.places,
        found.skipped,
        found.bad_rows,
        source.samples,
        source.sampling,
    )


def _benchmark(source: BenchmarkSource) -> ProblemSet:
    benchmark = BENCHMARKS[source.name]
    if source.path is not None:
        rows = rows_of_path(source.path, source.split, benchmark.split)
    else:
        rows = rows_of_hub(benchmark.hub, benchmark.config, source.split or benchmark.split)
    found = _parsed(source.name.value, rows, benchmark.columns, source.bad_rows, benchmark.repeated)
    own_split = source.split in (None, benchmark.split)
    if own_split and not found.skipped and len(found.problems) not in benchmark.sizes:
        expected = " or ".join(map(str, benchmark.sizes))
        logger.warning(
            "%s has %d problems here, and %s as published: results may not be comparable",
            found.name,
            len(found.problems),
            expected,
        )
    return found


def _parsed(
    name: str, rows: Iterable[Row], columns: ProblemColumns, bad_rows: BadRows, repeated: bool = False
) -> ProblemSet:
    """Return the problems of rows. If rows are `repeated`, only the first of equal questions counts."""
    found: list[Problem] = []
    indices: list[int] = []
    places: list[str] = []
    skipped: list[str] = []
    questions: set[str] = set()
    for index, row in enumerate(rows):
        try:
            problem = problem_of(row.columns(), columns, name)
        except RowError as error:
            _refuse(row.place, str(error), bad_rows, skipped)
            continue
        if repeated:
            if problem.question in questions:
                continue
            questions.add(problem.question)
        found.append(problem)
        indices.append(index)
        places.append(row.place)
    _log_skipped(name, skipped)
    return ProblemSet(name, tuple(found), tuple(indices), tuple(places), tuple(skipped), bad_rows)


def _refuse(place: str, reason: str, bad_rows: BadRows, skipped: list[str]) -> None:
    """Add a bad row to `skipped`, or raise `DataError`, as `bad_rows` says."""
    if bad_rows == "stop":
        raise DataError(f"{place}: {reason}; to leave such rows out, set bad_rows: skip")
    skipped.append(f"{place}: {reason}")


def _log_skipped(name: str, skipped: Sequence[str]) -> None:
    if skipped:
        more = f"; and {len(skipped) - _REASONS_LOGGED} more" if len(skipped) > _REASONS_LOGGED else ""
        logger.warning("%s: %d bad rows skipped: %s%s", name, len(skipped), "; ".join(skipped[:_REASONS_LOGGED]), more)


def _sampled(found: ProblemSet, limit: int | None, seed: int) -> ProblemSet:
    if limit is None or limit >= len(found.problems):
        return found
    return _taken(found, sorted(Random(seed).sample(range(len(found.problems)), limit)))


def _taken(found: AnySet, indices: Sequence[int]) -> AnySet:
    return replace(
        found,
        problems=tuple(found.problems[i] for i in indices),
        rows=tuple(found.rows[i] for i in indices),
        places=tuple(found.places[i] for i in indices),
    )


def _ranges(rows: Sequence[int]) -> list[list[int]]:
    """Return ascending `rows` as ranges [first, last]."""
    ranges: list[list[int]] = []
    for row in rows:
        if ranges and row == ranges[-1][1] + 1:
            ranges[-1][1] = row
        else:
            ranges.append([row, row])
    return ranges
