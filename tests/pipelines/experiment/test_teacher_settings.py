"""The settings of teachers on servers, of replicas and of recordings: what is refused, and what a run then needs."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipelines.experiment.loading import ConfigError, load, resolved_yaml
from pipelines.experiment.model_paths import hub_names, server_notes
from pipelines.experiment.schema import Experiment
from pipelines.memory.roles import memory_of
from tests.pipelines.small import SMALL

SERVED = "models.teacher={path: null, url: http://host:8000/v1, model: big}"


@pytest.fixture
def small(tmp_path: Path) -> Path:
    path = tmp_path / "small.yaml"
    path.write_text(SMALL)
    return path


def roles(experiment: Experiment) -> dict[str, int]:
    return {role.role: role.count for role in memory_of(experiment)}


def test_a_served_teacher_needs_no_actor_and_no_memory(small: Path) -> None:
    experiment = load(small, [SERVED, "cluster.device=cpu"], Experiment)
    assert experiment.teachers == ()
    assert [bundle.actor for bundle in experiment.bundles()] == ["rollout-0", "reward", "learner-0"]
    assert "teacher" not in roles(experiment)


def test_replicas_are_placed_and_counted_each(small: Path) -> None:
    one, three = (load(small, [f"teacher.replicas={count}"], Experiment) for count in (1, 3))
    assert one.teachers == ("teacher",)
    assert three.teachers == ("teacher-0", "teacher-1", "teacher-2")
    assert [bundle.actor for bundle in three.bundles()][:4] == [*three.teachers, "rollout-0"]
    assert (roles(one)["teacher"], roles(three)["teacher"]) == (1, 3)


def test_the_final_teacher_may_be_served_and_the_other_not(small: Path) -> None:
    final = "evaluation.teacher={url: https://host/v1, model: big}"
    experiment = load(small, [final, "teacher.replicas=2"], Experiment)
    assert len(experiment.teachers) == 2
    assert experiment.with_final_teacher().teachers == ()
    assert roles(experiment)["teacher"] == 2


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["models.teacher={url: http://host/v1, model: big}"], "give either path or pretrain, or url"),
        (["models.teacher={path: null, url: http://host/v1}"], "model is required with url"),
        (["models.teacher.model=big"], "model should be empty without url"),
        (["models.teacher.mode=chat"], "mode should be empty without url"),
        (["models.teacher={path: null, url: host/v1, model: big}"], "should begin with http:// or https://"),
        (["models.teacher={path: null, url: 'http://me:pw@host/v1', model: big}"], "should have no user, password"),
        (["models.teacher={path: null, url: 'http://host/v1?key=a', model: big}"], "should have no user, password"),
        ([SERVED, "models.teacher.mode=idz"], "should be 'ids', 'completions' or 'chat'"),
        ([SERVED, "teacher.replicas=2"], "teacher.replicas (2) should be 1 with models.teacher.url"),
        ([SERVED, "citer.enabled=true"], "citer.enabled (true) should be false with models.teacher.url"),
        (["models.student={path: null, url: http://host/v1}"], "models.student.url"),
    ],
)
def test_what_does_not_go_together_is_refused(small: Path, overrides: list[str], message: str) -> None:
    with pytest.raises(ConfigError) as error:
        load(small, overrides, Experiment)
    assert message in str(error.value)


@pytest.mark.parametrize("key", ["sk-proj-1234567890", "ghp_abcdefghijkl"])
def test_a_key_in_place_of_a_variables_name_is_refused_and_not_repeated(small: Path, key: str) -> None:
    with pytest.raises(ConfigError) as error:
        load(small, [SERVED, f"models.teacher.api_key_env={key}"], Experiment)
    assert "should be the name of an environment variable" in str(error.value)
    assert key not in str(error.value)


def test_the_resolved_settings_have_the_variables_name_and_not_its_value(
    small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEACHER_KEY", "k-123")
    written = resolved_yaml(load(small, [SERVED, "models.teacher.api_key_env=TEACHER_KEY"], Experiment))
    assert "api_key_env: TEACHER_KEY" in written
    assert "k-123" not in written


def test_the_tokenizer_of_a_served_teacher_may_be_a_hub_name(small: Path, tmp_path: Path) -> None:
    names = hub_names(load(small, [SERVED, "models.teacher.tokenizer=org/big"], Experiment))
    assert ("models.teacher.tokenizer", "org/big") in names
    assert "models.teacher.path" not in dict(names)
    (tmp_path / "tokenizer").mkdir()
    with pytest.raises(ConfigError, match=r"models\.teacher\.tokenizer .* has no tokenizer_config\.json"):
        hub_names(load(small, [SERVED, f"models.teacher.tokenizer={tmp_path / 'tokenizer'}"], Experiment))


def test_a_dry_run_names_servers_and_missing_keys_but_no_keys(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    experiment = load(small, [SERVED, "models.teacher.api_key_env=TEACHER_KEY"], Experiment)
    monkeypatch.delenv("TEACHER_KEY", raising=False)
    server, key = server_notes(experiment)
    assert server.startswith("models.teacher = 'big' at http://host:8000/v1: ")
    assert key == "models.teacher.api_key_env = 'TEACHER_KEY': this variable is not set here"
    monkeypatch.setenv("TEACHER_KEY", "k-123")
    assert server_notes(experiment) == [server]
    assert server_notes(load(small, [], Experiment)) == []
