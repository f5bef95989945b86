"""Trials for agents of W&B: whose directory and id they have, and a real agent that runs two."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipelines.experiment.loading import ConfigError
from pipelines.sweep.agent import agents_trial
from pipelines.sweep.plan import load_sweep
from pipelines.sweep.settings import METRIC
from tests.live import served_in_a_thread
from tests.pipelines.sweep.tiny import ROOT, environment, write_tiny
from tests.pipelines.sweep.wandb_server import WandbServer

AGENT = {"WANDB_RUN_ID": "run1", "WANDB_SWEEP_ID": "sweep1"}


def test_a_trials_directory_is_named_by_the_ids_of_sweep_and_run(write_sweep) -> None:
    sweep = load_sweep(write_sweep())
    places = {
        (run, of): agents_trial(sweep, ["seed=1"], {"WANDB_RUN_ID": run, "WANDB_SWEEP_ID": of}).experiment.directory
        for run in ("run1", "run2")
        for of in ("sweep1", "sweep2")
    }
    assert len(set(places.values())) == 4
    assert places["run1", "sweep1"] == sweep.directory / "wandb-sweep1" / "run1"


def test_a_trial_has_the_agents_values_as_it_writes_them(write_sweep) -> None:
    parameters = {"seed": {"values": [1, 2]}, "learner.gradient_checkpointing": {"values": [True, False]}}
    sweep = load_sweep(write_sweep(parameters=parameters))
    found = agents_trial(sweep, ["seed=2", "learner.gradient_checkpointing=True"], AGENT).experiment
    assert (found.seed, found.learner.gradient_checkpointing, found.tracking.group) == (2, True, "small")


@pytest.mark.parametrize(
    ("arguments", "environ", "message"),
    [
        (["seed=1"], {}, "WANDB_RUN_ID: is not set"),
        (["seed=1"], {"WANDB_RUN_ID": "run1"}, "WANDB_SWEEP_ID: is not set"),
        (["grpo.steps=1"], AGENT, "parameters.grpo.steps: the agent gives a value to a key that the file has not"),
        (["seed=-1"], AGENT, "seed = -1"),
    ],
)
def test_a_trial_of_no_agent_or_of_another_sweep_is_refused(write_sweep, arguments, environ, message: str) -> None:
    with pytest.raises(ConfigError) as error:
        agents_trial(load_sweep(write_sweep()), arguments, environ)
    assert message in str(error.value)


def test_a_trial_that_would_tell_wandb_nothing_is_refused(write_sweep) -> None:
    sweep = load_sweep(write_sweep(experiment={"tracking": {"mode": "disabled"}}))
    with pytest.raises(ConfigError, match=r"add `tracking\.mode: {value: auto}`"):
        agents_trial(sweep, ["seed=1"], AGENT)


class Agents:
    """A server, and W&B's own commands that talk to it from a folder."""

    def __init__(self, server: WandbServer, folder: Path, url: str, programs: Path) -> None:
        self.server = server
        self._folder = folder
        self._environment = environment() | {
            "WANDB_BASE_URL": url, "WANDB_API_KEY": "a" * 40, "WANDB_ERROR_REPORTING": "false",
            "WANDB_CONFIG_DIR": str(folder / "config"), "WANDB_CACHE_DIR": str(folder / "cache"), "PYTHONPATH": str(ROOT),
        }  # fmt: skip
        self._environment["PATH"] = f"{programs}{os.pathsep}{self._environment['PATH']}"

    def run(self, file: Path, **more: str) -> str:
        """Create the sweep and let an agent work until the server ends it, as a user does. Return what both printed."""
        created = self._wandb("sweep", file.name)
        command = re.search(r"wandb agent (\S+)", created)
        assert command is not None, created
        return created + self._wandb("agent", command[1], **more)

    def _wandb(self, *arguments: str, **more: str) -> str:
        done = subprocess.run(
            [str(Path(sys.executable).with_name("wandb")), *arguments],
            cwd=self._folder,
            env={**self._environment, **more},
            capture_output=True,
            text=True,
            timeout=1500,
            check=False,
        )
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-6000:]
        return done.stdout + done.stderr


@pytest.fixture
def agents(tmp_path: Path):
    """Return a function that starts a server with these trials; `python` is the one of `programs`."""
    with ExitStack() as ends:

        def start(trials: dict[str, dict[str, Any]], programs: Path = Path(sys.executable).parent) -> Agents:
            server = WandbServer(trials)
            return Agents(server, tmp_path, ends.enter_context(served_in_a_thread(server.app)), programs)

        yield start


def untrained(folder: Path) -> Path:
    """Return a folder with a `python` whose runs train nothing."""
    programs = folder / "programs"
    programs.mkdir()
    stand_in = Path(__file__).with_name("untrained_run.py")
    (programs / "python").write_text(f'#!/bin/sh\nexec {sys.executable} {stand_in} "$@"\n')
    (programs / "python").chmod(0o755)
    return programs


SEEDS = {
    "run1": {"seed": 1, "evaluation.call_ratio_budget": 0.05},
    "run2": {"seed": 2, "evaluation.call_ratio_budget": 0.05},
}
COMMAND = ["${env}", "python", "-m", "pipelines", "sweep", "sweep.yaml", "--trial", "${args_no_hyphens}"]


def test_a_real_agent_runs_trials_each_with_its_own_id_directory_and_values(write_sweep, tmp_path, agents) -> None:
    file = write_sweep(command=COMMAND)
    found = agents(SEEDS, untrained(tmp_path))
    said = found.run(file)
    assert found.server.config == yaml.safe_load(file.read_text())
    runs = tmp_path / "runs" / "sweeps" / "small" / "wandb-sweep1"
    assert sorted(path.name for path in runs.iterdir()) == ["run1", "run2"], said[-6000:]
    for key, value in (("groupName", "small"), ("sweep", "sweep1")):
        # Later updates of a run leave out what does not change.
        told = {bucket["name"]: bucket[key] for bucket in found.server.buckets if bucket.get(key)}
        assert told == {"run1": value, "run2": value}
    values = {run: [row[METRIC] for row in rows if METRIC in row] for run, rows in found.server.history.items()}
    assert values == {"run1": pytest.approx([0.11, 0.14]), "run2": pytest.approx([0.21, 0.24])}
    assert found.server.exits == {"run1": 0, "run2": 0}


@pytest.mark.slow
def test_a_run_that_wandb_gives_out_again_goes_on_in_its_directory(write_sweep, tmp_path, agents) -> None:
    file = write_sweep(command=COMMAND)
    for programs in (untrained(tmp_path), tmp_path / "programs"):
        found = agents({"run1": SEEDS["run1"]}, programs)
        found.run(file)
    (run,) = (tmp_path / "runs" / "sweeps" / "small" / "wandb-sweep1").iterdir()
    assert len((run / "metrics.jsonl").read_text().splitlines()) == 4
    assert {bucket["name"] for bucket in found.server.buckets} == {"run1"}


def test_a_mistake_in_the_file_ends_the_first_trial_before_it_has_a_directory(write_sweep, tmp_path, agents) -> None:
    file = write_sweep(
        command=COMMAND, parameters={"seed": {"values": [1, -5]}, "evaluation.call_ratio_budget": {"value": 0.05}}
    )
    found = agents({"run1": SEEDS["run1"]}, untrained(tmp_path))
    said = found.run(file)
    assert "sweep.yaml: parameters.seed = -5" in said
    assert not (tmp_path / "runs").exists() and found.server.buckets == []


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("mode", ["online", "offline"])
def test_a_real_agent_trains_in_two_trials_that_share_what_both_need(tmp_path: Path, agents, mode: str) -> None:
    """Offline, the agent talks to the server, and the runs stay on this machine."""
    file = write_tiny(tmp_path)
    trials = {f"run{bonus:g}".replace(".", ""): {"reward.independence_bonus": bonus} for bonus in (1.0, 1.5)}
    found = agents(trials)
    said = found.run(file, **({"WANDB_MODE": "offline"} if mode == "offline" else {}))
    runs = tmp_path / "runs" / "sweeps" / "tiny" / "wandb-sweep1"
    assert sorted(path.name for path in runs.iterdir()) == sorted(trials), said[-6000:]
    for run in trials:
        assert (runs / run / "report.html").exists(), said[-6000:]
        assert (runs / run / "wandb_id").read_text().strip() == run
    assert len({(runs / run / "stages" / "warmup").resolve() for run in trials}) == 1
    assert len({(runs / run / "stages" / "grpo").resolve() for run in trials}) == 2
    if mode == "online":
        assert all(any(METRIC in row for row in found.server.history[run]) for run in trials)
        assert found.server.exits == dict.fromkeys(trials, 0)
    else:
        assert found.server.history == {}
        assert all(list((runs / run / "wandb").glob("offline-run-*")) for run in trials)
