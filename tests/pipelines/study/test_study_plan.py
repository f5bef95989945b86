"""Study files: what they mean, and that every mistake is named before anything starts."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipelines.__main__ import main
from pipelines.experiment.loading import ConfigError, load
from pipelines.experiment.schema import Experiment
from pipelines.experiment.stage_keys import shared_folders
from pipelines.study.plan import load_study
from pipelines.study.settings import StudySettings

KNOWN = {"source": "chain_arithmetic", "counts": {"known": 2}}


def problems(path: Path, *overrides: str) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as caught:
        load_study(path, overrides)
    return caught.value.problems


def test_runs_are_placed_in_the_study_and_share_one_folder(write_study, tmp_path: Path) -> None:
    study = load_study(write_study())
    assert list(study.runs) == ["relay", "grpo"]
    assert {name: run.directory for name, run in study.runs.items()} == {
        "relay": tmp_path / "out/runs/relay",
        "grpo": tmp_path / "out/runs/grpo",
    }
    assert {run.experiment.share_dir for run in study.runs.values()} == {tmp_path / "out/shared"}
    assert [place.stage for place in study.systems.values() if place.run == "relay"] == [
        "evaluate-base-student",
        "evaluate-final-relay",
    ]


def test_without_a_directory_it_is_that_of_its_name(write_study, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert load_study(write_study({"directory": None})).directory == tmp_path / "runs/pair"


def test_overrides_reach_every_run_as_they_are_written(write_study) -> None:
    changes = {
        "seed": 3,
        "tracking": {"mode": "disabled", "tags": ["a: b", "on"], "group": "x # y"},
        "grpo": {"optimizer": {"lr": 1e-05}},
        "data": {"evaluation": {"0": {"limit": 1}}},
    }
    study = load_study(write_study({"overrides": changes}), ["overrides.seed=4", "overrides.grpo.steps=7"])
    for run in study.runs.values():
        experiment = run.experiment
        assert (experiment.seed, experiment.grpo.steps, experiment.grpo.optimizer.lr) == (4, 7, 1e-5)
        assert experiment.data.evaluation[0].limit == 1
        assert (experiment.tracking.mode, experiment.tracking.group) == ("disabled", "x # y")
        assert experiment.tracking.tags == ("a: b", "on")
        assert load(run.file, run.overrides, Experiment) == experiment  # what the run's own process will read


def test_an_unknown_key_is_reported_with_the_nearest_one(write_study) -> None:
    (problem,) = problems(write_study({"resample": 200}))
    assert "resample = 200: unknown key; did you mean `resamples`?" in problem


@pytest.mark.parametrize("name", ["../up", "a/b", "", ".hidden"])
def test_names_of_runs_are_names_of_folders(write_study, name: str) -> None:
    assert any("runs" in problem for problem in problems(write_study({"runs": {name: "relay.yaml"}})))


@pytest.mark.parametrize(
    ("place", "right"),
    [
        ("rely/final/relay", "there is no run 'rely'; did you mean `relay`?"),
        ("relay/final/rely", "the run 'relay' does not evaluate that; did you mean `relay/final/relay`?"),
        ("relay/final/teacher", "the run 'relay' does not evaluate that"),
        ("relay/grpo-0002/relay", "the run 'relay' does not evaluate that"),
        ("relay/citer/citer@0.5", "the run 'relay' does not evaluate that"),
        ("relay/final", "should match pattern"),
    ],
)
def test_a_system_that_no_run_evaluates_is_refused(write_study, place: str, right: str) -> None:
    (problem,) = problems(write_study({"systems": {"mine": place}}))
    assert f"systems.mine = '{place}'" in problem
    assert right.lower() in problem.lower()


def test_systems_of_citer_are_its_thresholds(write_study) -> None:
    citer = {"citer": {"enabled": True, "thresholds": [0.5, 1.0]}}
    systems = {"citer@0.5": "relay/citer/citer@0.5", "citer@1": "relay/citer/citer@1"}
    places = load_study(write_study({"systems": systems}, relay=citer)).systems.values()
    assert [place.stage for place in places] == ["evaluate-citer-citer@0.5", "evaluate-citer-citer@1"]
    (problem,) = problems(write_study({"systems": {"citer@0.7": "relay/citer/citer@0.7"}}, relay=citer))
    assert "did you mean `relay/citer/citer@0.5`?" in problem


def test_every_missing_and_every_invalid_experiment_is_named(write_study, tmp_path: Path) -> None:
    path = write_study(grpo={"grpo": {"stps": 3}, "warmup": {"epochs": 0}})
    (tmp_path / "relay.yaml").unlink()
    found = problems(path)
    assert len(found) == 3
    assert f"runs.relay: {tmp_path}/relay.yaml: cannot be read: No such file or directory" in found
    assert any(problem.startswith("runs.grpo: ") and "did you mean `grpo.steps`" in problem for problem in found)
    assert any(problem.startswith("runs.grpo: ") and "warmup.epochs = 0" in problem for problem in found)


def test_a_wrong_override_is_one_problem_whoever_shares_it(write_study) -> None:
    (problem,) = problems(write_study({"overrides": {"grpo": {"stps": 3}}}))
    assert problem.startswith("runs.relay, runs.grpo: override: grpo.stps = 3: unknown key")


@pytest.mark.parametrize("key", ["run_dir", "share_dir", "name"])
def test_what_the_study_sets_itself_cannot_be_overridden(write_study, key: str) -> None:
    (problem,) = problems(write_study({"overrides": {key: "elsewhere"}}))
    assert f"overrides.{key}: is set by the study" in problem


def test_runs_of_one_name_are_refused(write_study) -> None:
    (problem,) = problems(write_study(grpo={"name": "relay"}))
    assert "runs.grpo = 'relay': the experiments of the runs 'relay' and 'grpo' should have different names" in problem


def test_systems_are_compared_on_the_same_data(write_study) -> None:
    train = {"source": "chain_arithmetic", "counts": {"known": 3}}
    other = {"train": train, "evaluation": [KNOWN | {"seed": 1}], "prompt_suffix": "!"}
    found = problems(write_study(grpo={"data": other}))
    assert [problem.partition(" = ")[0].rpartition(": ")[2] for problem in found] == [
        "runs.grpo.data.prompt_suffix",
        "runs.grpo.data.evaluation.0.seed",
        "runs.grpo.data.evaluation.0.counts",
    ]
    assert "= 1: should be 0 as in the run 'relay'" in found[1]


def test_a_run_that_is_not_compared_may_have_other_data(write_study) -> None:
    other = {"train": KNOWN, "evaluation": [KNOWN]}
    systems = {"relay": "relay/final/relay"}
    assert len(load_study(write_study({"systems": systems}, grpo={"data": other})).runs) == 2


@pytest.mark.parametrize("group", ["hard", "unseen"])
def test_groups_are_made_of_kinds_that_are_evaluated(write_study, group: str) -> None:
    assert load_study(write_study({group: ["teacher_known"]}))
    (problem,) = problems(write_study({group: ["known", "teacher_know"]}))
    assert f"{group} = 'teacher_know': no run evaluates problems of that kind; did you mean `teacher_known`?" in problem


def test_a_dry_run_shows_every_runs_resources_and_systems(write_study, tmp_path: Path, capsys) -> None:
    path = write_study(grpo={"cluster": {"device": "gpu"}, "learner": {"ranks": 2}})
    assert main(["study", str(path), "--dry-run"]) == 0
    first, second = capsys.readouterr().out.split("[2/2]")
    assert "[1/2] relay" in first and "learner-0" in first and "learner-1" not in first
    assert "base (relay/base/student), relay (relay/final/relay)" in first
    assert "resources (gpu)" in second and "learner-1" in second
    assert not (tmp_path / "out").exists()


def test_a_dry_run_counts_stages_that_are_left_done_or_shared(write_study, capsys) -> None:
    path = write_study(grpo={"reward": {"scheme": "simple"}, "grpo": {"steps": 20}, "evaluation": {"warmup": []}})
    relay, grpo = (shared_folders(run.experiment) for run in load_study(path).runs.values())
    assert set(relay) - set(grpo) >= {"evaluate-warmup-relay", "evaluate-grpo-0025-relay"}
    for stage in ("filter", "evaluate-base-student"):
        relay[stage].mkdir(parents=True)
        (relay[stage] / "done.json").write_text("{}")
    main(["study", str(path), "--dry-run"])
    lines = [line.strip() for line in capsys.readouterr().out.splitlines() if "stages:" in line]
    assert lines == [
        f"stages: {len(relay) - 2} of {len(relay)} to do, 2 done already",
        "stages: 3 of 7 to do, 2 done already, 2 shared with earlier runs",
    ]


def test_a_mistake_ends_the_command_with_status_2(write_study, capsys) -> None:
    assert main(["study", str(write_study()), "resampls=300"]) == 2
    assert "did you mean `resamples`?" in capsys.readouterr().err


def test_editors_get_a_schema_of_study_files(capsys) -> None:
    assert main(["schema", "study"]) == 0
    printed = capsys.readouterr().out
    assert all(f'"{key}"' in printed for key in StudySettings.model_fields)
