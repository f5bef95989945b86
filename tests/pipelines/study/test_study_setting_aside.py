"""A run of a study whose settings have changed starts in a new directory; real directories, stand-ins for the work."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from pipelines.records.binding import bind
from pipelines.records.run_directory import RunDirectory
from pipelines.study.plan import Study, load_study
from pipelines.study.runner import run_all
from pipelines.study.setting_aside import set_aside_if_changed

STAND_IN = Path(__file__).with_name("scripted_run.py")
BASE, RELAY = "evaluate-base-student", "evaluate-final-relay"


@pytest.fixture
def file(write_study) -> Path:
    return write_study()


@pytest.fixture
def relay(file: Path) -> RunDirectory:
    """Return the directory of the study's first run, which has done what it does before GRPO."""
    study = load_study(file)
    run = study.runs["relay"]
    with RunDirectory(run.directory) as directory:
        bind(directory, run.experiment)
        directory.mark_done(BASE, {})
    return directory


def run(study: Study) -> dict[str, str]:
    script = study.directory.with_name("script.json")
    script.write_text(json.dumps({"runs": dict.fromkeys(study.runs, "bind")}))
    return run_all(study, (sys.executable, str(STAND_IN), str(script)))


def test_a_changed_setting_starts_the_run_anew_and_nothing_is_lost(file: Path, capsys) -> None:
    study, changed = load_study(file), load_study(file, ["overrides.evaluation.limits.max_calls=1"])
    assert run(study) == {}
    relay = RunDirectory(study.runs["relay"].directory)
    first = {stage: relay.summary(stage) for stage in (BASE, RELAY)}
    capsys.readouterr()

    assert run(changed) == {}
    printed = capsys.readouterr().out
    assert f"[1/2] relay: has changed, the earlier run is now {relay.path}.1\n" in printed
    assert "\n  evaluation.limits.max_calls: 5 -> 1\n" in printed
    aside = RunDirectory(relay.path.with_name("relay.1"))
    assert {stage: aside.summary(stage) for stage in (BASE, RELAY)} == first
    assert relay.summary(BASE) == first[BASE], "what does not depend on the setting is not done again"
    assert relay.summary(RELAY) != first[RELAY]

    assert run(study) == {}
    assert RunDirectory(relay.path.with_name("relay.2")).path.exists()
    assert {stage: relay.summary(stage) for stage in (BASE, RELAY)} == first


@pytest.mark.parametrize("override", ["seed=0", "tracking.mode=disabled", "cluster.start_timeout_s=5"])
def test_a_run_goes_on_in_its_directory_where_no_result_depends_on_what_changed(
    file: Path, relay: RunDirectory, override: str
) -> None:
    study = load_study(file, [f"overrides.{override}"])
    assert set_aside_if_changed(study, study.runs["relay"]) is None
    assert relay.stage_done(BASE)
    assert set_aside_if_changed(study, study.runs["grpo"]) is None, "it has not started"


def test_a_run_whose_stages_have_other_keys_than_they_had_is_set_aside(file: Path, relay: RunDirectory) -> None:
    study = load_study(file)
    link = relay.path / "stages" / RELAY
    link.unlink()
    link.symlink_to(study.directory / "shared" / f"{RELAY}-of-another-recipe")
    aside = set_aside_if_changed(study, study.runs["relay"])
    assert aside is not None
    assert (aside.path / "stages" / BASE / "done.json").exists()
    (change,) = aside.changes
    assert change.startswith(f"stages/{RELAY}: ")


def test_a_run_that_is_still_under_way_keeps_its_directory(file: Path, relay: RunDirectory) -> None:
    changed = load_study(file, ["overrides.seed=1"])
    with relay:
        assert run(changed) == {"relay": "failed with status 1"}
    assert relay.stage_done(BASE)
    assert sorted(path.name for path in relay.path.parent.iterdir()) == ["grpo", "relay"]


def test_no_run_is_set_aside_where_another_run_of_the_study_goes(write_study) -> None:
    runs = {"relay": "relay.yaml", "relay.1": "grpo.yaml"}
    systems = {"relay": "relay/final/relay"}
    file = write_study({"runs": runs, "systems": systems})
    run = load_study(file).runs["relay"]
    directory = RunDirectory(run.directory)
    bind(directory, run.experiment)
    directory.append_jsonl(directory.metrics.name, {"stage": "filter", "step": 0})
    changed = load_study(file, ["overrides.seed=1"])
    aside = set_aside_if_changed(changed, changed.runs["relay"])
    assert aside is not None
    assert aside.path.name == "relay.2"
