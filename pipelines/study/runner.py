"""Does a study's unfinished runs on one Ray cluster, one after the other. Each run is a separate process."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

from pipelines.experiment.loading import resolved_yaml
from pipelines.records.run_directory import RunDirectory
from pipelines.study.description import stages_left
from pipelines.study.finished import is_finished, mark_finished
from pipelines.study.plan import Study
from pipelines.study.processes import RUN, Processes, how_it_failed, one_cluster
from pipelines.study.setting_aside import set_aside_if_changed


def run_all(study: Study, command: Sequence[str] = RUN) -> dict[str, str]:
    """Do all unfinished runs in order, and return, by name, how the failed runs ended.

    A run is a separate process: `command` with the run's file and overrides. If it fails, the others still run.
    Raises `RunDirectoryError` if another process works on the study.
    """
    failed: dict[str, str] = {}
    started, count = time.monotonic(), len(study.runs)
    with RunDirectory(study.directory) as directory:
        directory.write_text("study.yaml", resolved_yaml(study.settings))
        left = [run for run in study.runs.values() if not is_finished(study, run.name)]
        experiments = [run.experiment for run in left]
        with one_cluster(f"relay-study-{study.settings.name}", experiments) as environment:
            for number, run in enumerate(study.runs.values(), start=1):
                if run not in left:
                    _say(f"[{number}/{count}] {run.name}: finished earlier")
                    continue
                if earlier := set_aside_if_changed(study, run):
                    changes = "".join(f"\n  {change}" for change in earlier.changes)
                    _say(f"[{number}/{count}] {run.name}: has changed, the earlier run is now {earlier.path}{changes}")
                _say(f"[{number}/{count}] {run.name}: {run.file}, stages: {stages_left(run)}")
                started_run = time.monotonic()
                failure = _run([*command, str(run.file), *run.overrides], environment)
                seconds = time.monotonic() - started_run
                _say(f"[{number}/{count}] {run.name}: {failure or 'finished'} after {seconds:.0f} s")
                if failure is None:
                    mark_finished(study, run.name)
                else:
                    failed[run.name] = failure
    _say(f"{count - len(failed)} of {count} runs are finished; {time.monotonic() - started:.0f} s this time")
    return failed


def _run(command: Sequence[str], environment: Mapping[str, str]) -> str | None:
    """Run a process and return how it failed; None if it did not."""
    with Processes() as processes:
        return how_it_failed(processes.start(command, environment).wait())


def _say(line: str) -> None:
    print(line, flush=True)
