"""A run that surely does not fit ends before anything starts, and leaves a directory that other settings may take."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from cluster.machine import Machines
from pipelines import driver
from pipelines.experiment.loading import load
from pipelines.experiment.schema import Experiment
from pipelines.experiment.stage_keys import stage_keys
from pipelines.memory.fit import MemoryShortError

DEMO = Path(__file__).parents[3] / "experiments" / "demo.yaml"


class StartedError(Exception):
    """Ray would be started now."""


@pytest.fixture
def small_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    def start(*arguments: object) -> None:
        raise StartedError

    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(driver, "this_machine", lambda: Machines("this machine", 1e9, 1e9, 1e9))
    monkeypatch.setattr(driver, "ray_session", start)


def experiment(run_dir: Path, cache: Path, **overrides: object) -> Experiment:
    given = [f"{key}={value}" for key, value in overrides.items()]
    return load(DEMO, [f"run_dir={run_dir}", f"models.cache_dir={cache}", *given], Experiment)


def test_a_refused_run_does_not_hold_its_new_directory_to_its_settings(small_machine: None, tmp_path: Path) -> None:
    for seed in (1, 2):
        with pytest.raises(MemoryShortError, match=re.escape("this machine has 1.0 GB")):
            driver.drive(experiment(tmp_path / "run", tmp_path, seed=seed))
    assert not (tmp_path / "run" / "experiment.yaml").exists()


def test_a_run_with_nothing_left_to_do_is_not_refused(small_machine: None, tmp_path: Path) -> None:
    settings = experiment(tmp_path / "run", tmp_path)
    for stage in stage_keys(settings):
        folder = tmp_path / "run" / "stages" / stage
        folder.mkdir(parents=True)
        (folder / "done.json").write_text("{}")
    with pytest.raises(StartedError):
        driver.drive(settings)
