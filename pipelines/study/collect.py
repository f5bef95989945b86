"""Reads a study's results from disk: every system's answers, and the best possible policy's cost."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from pydantic import BaseModel, ValidationError

from pipelines.analysis.findings import KindGroups
from pipelines.analysis.results import OraclePoint, StudyResults, SystemAnswers
from pipelines.analysis.systems import BASE, RELAY
from pipelines.experiment.stage_keys import shared_folders
from pipelines.records.answers import ANSWERS, AnswersError, AnswerTable
from pipelines.records.evaluations import Evaluation
from pipelines.records.run_directory import RunDirectory, RunDirectoryError
from pipelines.study.checks import Place
from pipelines.study.plan import Study, StudyRun


class StudyResultsError(ValueError):
    """Systems were evaluated on different problems; the message names them and the first that differs."""


class _Marker(BaseModel):
    """The part of a finished evaluation's summary that is read here."""

    seconds: float
    rows: tuple[Evaluation, ...]


def read_results(study: Study, failed: Mapping[str, str] | None = None) -> StudyResults:
    """Return all systems' results on disk. `failed` says, by run, how the runs ended that did not finish.

    Raises `StudyResultsError` if two systems have answers to different problems.
    """
    systems: dict[str, SystemAnswers] = {}
    oracles: dict[str, dict[str, OraclePoint]] = {}
    missing: dict[str, str] = {}
    for system, place in study.systems.items():
        run = study.runs[place.run]
        directory = RunDirectory(run.directory)
        done = directory.stage_done(place.stage)
        if not done or not _is_of_these_settings(run, place.stage):
            left = "has results of other settings" if done else "has not finished that evaluation"
            missing[system] = f"{place}: the run {(failed or {}).get(place.run, left)}"
            continue
        try:
            systems[system], oracles[system] = _read(directory, place)
        except (AnswersError, RunDirectoryError) as error:
            missing[system] = f"{place}: {error}"
    _check_same_problems({system: answers.table for system, answers in systems.items()})
    return StudyResults(
        name=study.settings.name,
        systems=systems,
        missing=missing,
        groups=KindGroups(frozenset(study.settings.hard), frozenset(study.settings.unseen)),
        prices=study.settings.prices,
        runs={name: run.directory for name, run in study.runs.items()},
        oracle=next((oracles[name] for name in (RELAY, BASE, *oracles) if oracles.get(name)), {}),
    )


def _is_of_these_settings(run: StudyRun, stage: str) -> bool:
    """Return whether the stage in the run's directory has the settings of the run's present experiment."""
    return (run.directory / "stages" / stage).resolve() == shared_folders(run.experiment)[stage]


def _read(directory: RunDirectory, place: Place) -> tuple[SystemAnswers, dict[str, OraclePoint]]:
    folder = directory.path / "stages" / place.stage
    try:
        marker = _Marker.model_validate(directory.summary(place.stage))
    except ValidationError as error:
        raise RunDirectoryError(f"{folder / 'done.json'}: not the record of an evaluation: {error}") from error
    oracle = {
        row.kind: OraclePoint(row.oracle_accuracy, row.oracle_call_ratio)
        for row in marker.rows
        if row.oracle_accuracy is not None and row.oracle_call_ratio is not None
    }
    return SystemAnswers(place.run, AnswerTable.read(folder / ANSWERS), marker.seconds), oracle


def _check_same_problems(tables: Mapping[str, AnswerTable]) -> None:
    """Raise `StudyResultsError` unless all tables have answers to the same problems under the same numbers."""
    if not tables:
        return
    first, *others = tables
    wanted = _problems(tables[first])
    for system in others:
        given = _problems(tables[system])
        for number in sorted({*wanted, *given}):
            if wanted.get(number) != given.get(number):
                raise StudyResultsError(
                    f"systems can only be compared on the same problems: problem {number} of {first} is "
                    f"{_shown(wanted.get(number))}, and of {system} it is {_shown(given.get(number))}"
                )


def _problems(table: AnswerTable) -> dict[int, tuple[str, str, str]]:
    """Return kind, question and gold answer of each problem, by its number."""
    numbers, rows = np.unique(table.problem, return_index=True)
    return {
        int(number): (str(table.kind[row]), str(table.question[row]), str(table.gold[row]))
        for number, row in zip(numbers, rows, strict=True)
    }


def _shown(problem: tuple[str, str, str] | None) -> str:
    if problem is None:
        return "not answered"
    kind, question, gold = problem
    return f"{question[:80]!r} ({kind}, gold {gold[:40]!r})"
