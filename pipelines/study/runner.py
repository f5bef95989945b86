"""Does a study's unfinished runs on one Ray cluster, one after the other. Each run is a separate process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress

from cluster.placement import total
from cluster.session import ray_session
from pipelines.experiment.loading import resolved_yaml
from pipelines.records.run_directory import RunDirectory
from pipelines.study.description import stages_left
from pipelines.study.finished import is_finished, mark_finished
from pipelines.study.plan import Study, StudyRun
from pipelines.study.setting_aside import set_aside_if_changed
from pipelines.terminal.interruption import ended_at_once

RUN = (sys.executable, "-m", "pipelines", "run")
_SECONDS_TO_STOP = 120.0
"""time that a run has to end its actors and its W&B run when it is stopped"""


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
        with _cluster_for(study, left) as environment:
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


@contextmanager
def _cluster_for(study: Study, runs: Sequence[StudyRun]) -> Iterator[Mapping[str, str]]:
    """Yield the environment of the runs' processes. They join one cluster that is large enough for each of them."""
    needs = [total(run.experiment.bundles()) for run in runs if run.experiment.cluster.address is None]
    if not needs:
        yield os.environ
        return
    cpus, gpus = (max(amounts) for amounts in zip(*needs, strict=True))
    with ray_session(f"relay-study-{study.settings.name}", None, cpus, gpus) as address:
        yield {**os.environ, "RAY_ADDRESS": address}


def _run(command: Sequence[str], environment: Mapping[str, str]) -> str | None:
    """Run a process and return how it failed; None if it did not. If this process has to stop, it stops that one first."""
    # In its own process group, so that Ctrl-C reaches it only once: through this process.
    process = subprocess.Popen(command, env=environment, process_group=0)
    with ended_at_once(process.kill):
        try:
            status = process.wait()
        except BaseException:
            process.terminate()
            try:
                with suppress(subprocess.TimeoutExpired):
                    process.wait(_SECONDS_TO_STOP)
            finally:
                process.kill()
                process.wait()
            raise
    if status == 0:
        return None
    return f"failed with status {status}" if status > 0 else f"was ended by {signal.Signals(-status).name}"


def _say(line: str) -> None:
    print(line, flush=True)
