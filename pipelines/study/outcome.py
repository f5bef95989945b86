"""Does a study's runs and writes its report, or writes the report alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from pipelines.study.collect import read_results
from pipelines.study.plan import Study
from pipelines.study.processes import RUN
from pipelines.study.runner import run_all
from pipelines.study.tables import write_tables

REPORT, TABLES = "report.html", "tables.json"


class StudyError(RuntimeError):
    """Runs of the study failed; the message names them."""


def run_study(study: Study, command: Sequence[str] = RUN) -> Path:
    """Do all unfinished runs, and return the path of the report on all results.

    If a run failed, the report is still written, and then `StudyError` is raised. Raises `StudyResultsError` if systems
    have answers to different problems.
    """
    failed = run_all(study, command)
    report = write_outcome(study, failed)
    if failed:
        runs = "\n".join(f"  {name} {ended}" for name, ended in failed.items())
        raise StudyError(
            f"{len(failed)} of {len(study.runs)} runs are not finished; the same command tries them again:\n{runs}\n"
            f"report without them: {report}"
        )
    return report


def write_outcome(study: Study, failed: Mapping[str, str] | None = None) -> Path:
    """Write the numbers and the report on all results on disk, and return the report's path.

    Raises `StudyError` if there are no results at all and no run has failed, and `StudyResultsError` as `read_results`.
    """
    from pipelines.report.comparison import write_comparison

    results = read_results(study, failed)
    if failed is None and len(results.missing) == len(study.settings.systems):
        raise StudyError(
            f"{study.directory}: no run of this study has an answer yet; start the study without --report-only"
        )
    for system, reason in results.missing.items():
        print(f"no answers of {system}: {reason}")
    write_tables(results, study.directory / TABLES, study.settings.resamples)
    report = study.directory / REPORT
    write_comparison(results, report, study.settings.resamples)
    return report
