"""Trials for agents of W&B: whose directory and id they have, and a real agent that runs two."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

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


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("mode", ["online", "offline"])
def test_a_real_agent_runs_two_trials(tmp_path: Path, mode: str) -> None:
    """`wandb sweep` and `wandb agent` as a user calls them. Offline, the runs stay on this machine."""
    file = write_tiny(tmp_path)
    trials = {f"run{bonus:g}".replace(".", ""): {"reward.independence_bonus": bonus} for bonus in (1.0, 1.5)}
    server = WandbServer(trials)
    with served_in_a_thread(server.app) as url:
        variables = environment() | {
            "WANDB_BASE_URL": url, "WANDB_API_KEY": "a" * 40, "WANDB_ERROR_REPORTING": "false",
            "WANDB_CONFIG_DIR": str(tmp_path / "config"), "WANDB_CACHE_DIR": str(tmp_path / "cache"), "PYTHONPATH": str(ROOT),
        }  # fmt: skip
        variables["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{variables['PATH']}"

        def wandb(*arguments: str, **more: str) -> str:
            done = subprocess.run(
                [str(Path(sys.executable).with_name("wandb")), *arguments],
                cwd=tmp_path,
                env={**variables, **more},
                capture_output=True,
                text=True,
                timeout=1500,
                check=False,
            )
            assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-6000:]
            return done.stdout + done.stderr

        assert "wandb agent me/relayllm/sweep1" in wandb("sweep", file.name)
        assert server.config["parameters"] == yaml.safe_load(file.read_text())["parameters"]
        said = wandb("agent", "me/relayllm/sweep1", **({"WANDB_MODE": "offline"} if mode == "offline" else {}))
    runs = tmp_path / "runs" / "sweeps" / "tiny" / "wandb-sweep1"
    assert sorted(path.name for path in runs.iterdir()) == sorted(trials), said[-6000:]
    for run in trials:
        assert (runs / run / "report.html").exists()
        assert (runs / run / "wandb_id").read_text().strip() == run
    warmups = {(runs / run / "stages" / "warmup").resolve() for run in trials}
    assert len(warmups) == 1
    if mode == "online":
        assert {bucket.get("name") for bucket in server.buckets} == set(trials)
        assert all(any(METRIC in row for row in server.history[run]) for run in trials)
        assert server.exits == dict.fromkeys(trials, 0)
    else:
        assert server.history == {} and all(list((runs / run / "wandb").glob("offline-run-*")) for run in trials)
