"""Runs a sweep's trials, several at a time. Each is one run of the product, in a process of its own."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import FileIO
from multiprocessing.connection import wait
from pathlib import Path
from subprocess import Popen

from cluster.files import make_directory
from cluster.machine import nodes_of_cluster
from cluster.reservation import nodes_now
from pipelines.analysis.sweep_results import State, SweepTrial
from pipelines.experiment.errors import ConfigError
from pipelines.experiment.loading import resolved_yaml
from pipelines.experiment.schema import Experiment
from pipelines.memory.roles import memory_of
from pipelines.records.objective import WithinBudget
from pipelines.records.run_directory import RunDirectory
from pipelines.study.processes import RUN, SECONDS_TO_STOP, Processes, how_it_failed, one_cluster
from pipelines.sweep.plan import Sweep
from pipelines.sweep.progress import last_words, objectives, present_stage
from pipelines.sweep.results import trial_directory
from pipelines.sweep.search import Asked, Search
from pipelines.sweep.table import TrialTable, say

OUTPUT = "output.log"
"""in a trial's directory: what it printed"""
_LOOK_EVERY_S = 1.0


@dataclass(slots=True)
class _Running:
    """A trial whose process goes on."""

    asked: Asked
    directory: Path
    process: Popen[bytes]
    ended: FileIO
    """can be read when the process has ended"""
    started: float
    objectives: tuple[WithinBudget, ...] = ()
    reported: int = 0
    early: str = ""
    """why it is being ended early"""
    killed_at: float = math.inf
    """when a trial that is being ended early is given no more time; by the monotonic clock"""
    stage: str = ""

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.started

    def shown(self) -> SweepTrial:
        return SweepTrial(
            self.asked.number,
            State.RUNNING,
            self.asked.values,
            self.objectives,
            self.directory,
            self.seconds,
            self.early,
        )


def run_trials(sweep: Sweep, at_a_time: int | None = None, command: Sequence[str] = RUN) -> None:
    """Run all trials that are left, `at_a_time` or as many as fit on the machines. What becomes of them is in the journal.

    Raises `RunDirectoryError` if another process works on the sweep, or if its directory is of another one.
    """
    with RunDirectory(sweep.directory) as directory:
        search = Search(sweep)
        directory.write_text("sweep.yaml", resolved_yaml(sweep.settings))
        if not search.left:
            say(f"sweep {sweep.name}: all {sweep.trials} trials are done, in {sweep.directory}")
            return
        with (
            one_cluster(f"relay-sweep-{sweep.name}", [sweep.experiment], at_a_time or 1) as environment,
            Processes() as processes,
            TrialTable(sweep) as table,
        ):
            most = at_a_time or fitting(sweep.experiment)
            say(f"sweep {sweep.name}: {sweep.trials} trials, {most} at a time, in {sweep.directory}")
            running: list[_Running] = []
            try:
                while True:
                    while len(running) < most and (asked := search.ask()):
                        if begun := _begin(sweep, search, asked, processes, command, environment):
                            running.append(begun)
                    table.show(running_trials=[(one.shown(), one.stage) for one in running], others=search.trials())
                    if not running:
                        return
                    wait([one.ended.fileno() for one in running], _LOOK_EVERY_S)
                    running = [one for one in running if _goes_on(sweep, search, one)]
            finally:
                for one in running:
                    one.ended.close()


def fitting(experiment: Experiment) -> int:
    """Return how many such runs the cluster that this process has joined has room for now, by CPUs, GPUs and memory; at least 1.

    It is 1 if this process has joined none.
    """
    import ray

    if not ray.is_initialized():
        return 1
    nodes = nodes_now().values()
    cpus, gpus = experiment.resources()
    machines = nodes_of_cluster()
    shares = [
        sum(node.free_cpus for node in nodes) / cpus if cpus else None,
        sum(node.free_gpus for node in nodes) / gpus if gpus else None,
        min(machines.total, machines.available) / sum(role.host_all for role in memory_of(experiment)),
    ]
    return max(int(min(share for share in shares if share is not None)), 1)


def _begin(
    sweep: Sweep,
    search: Search,
    asked: Asked,
    processes: Processes,
    command: Sequence[str],
    environment: Mapping[str, str],
) -> _Running | None:
    """Start the trial's process; None if the schema refuses its values together, which is then the trial's failure."""
    directory = trial_directory(sweep.directory, asked.number)
    try:
        trial = sweep.trial(sweep.arguments(asked.values), str(asked.number), directory)
    except ConfigError as error:
        search.failed(asked, error.problems[0], 0.0)
        say(f"trial {asked.number}: failed: {error.problems[0]}")
        return None
    make_directory(directory)
    process = processes.start(
        [*command, str(sweep.settings.program), *trial.overrides], environment, directory / OUTPUT
    )
    say(f"trial {asked.number}: {', '.join(f'{key}={value}' for key, value in asked.values.items())}")
    return _Running(asked, directory, process, FileIO(os.pidfd_open(process.pid)), time.monotonic())


def _goes_on(sweep: Sweep, search: Search, one: _Running) -> bool:
    """Look at a trial, and return whether its process goes on. If it has ended, its end is recorded."""
    status = one.process.poll()
    within, final = objectives(one.directory, sweep.experiment.evaluation.call_ratio_budget)
    one.objectives, one.stage = within, present_stage(one.directory)
    # The final evaluation is not reported as an iteration: nothing is saved by ending a trial after it.
    for iteration, objective in enumerate(within[one.reported :], start=one.reported + 1):
        one.reported = iteration
        if one.asked.report(iteration, objective.value) and not one.early and final is None and status is None:
            one.early = f"behind the other trials after iteration {iteration}"
            one.killed_at = time.monotonic() + SECONDS_TO_STOP
            one.process.terminate()
    if status is None:
        if time.monotonic() > one.killed_at:
            one.process.kill()
        return True
    one.ended.close()
    number, failed = one.asked.number, how_it_failed(status)
    if final is not None and failed is None:
        search.finished(one.asked, final.value, one.seconds)
        say(f"trial {number}: finished after {one.seconds:.0f} s: {_in_words(final)}")
    elif one.early:
        search.pruned(one.asked, one.early, one.seconds)
        say(f"trial {number}: ended early after {one.seconds:.0f} s, {one.early}: {_in_words(within[-1])}")
    else:
        reason = failed or "ended without a final evaluation of the relay student"
        words = last_words(one.directory / OUTPUT)
        search.failed(one.asked, f"{reason}: {words}" if words else reason, one.seconds)
        say(f"trial {number}: {reason} after {one.seconds:.0f} s, see {one.directory / OUTPUT}: {words}")
    return False


def _in_words(objective: WithinBudget) -> str:
    return f"{objective.value:.4f} (accuracy {100 * objective.accuracy:.1f} %, call ratio {100 * objective.call_ratio:.1f} %)"
