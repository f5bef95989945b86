"""What a user names becomes a server's settings: a run, or a server's file."""

import json
from pathlib import Path

import pytest
import yaml

from actors.serving.settings import Memory, ServerSettings
from pipelines.__main__ import main
from pipelines.experiment.errors import ConfigError
from pipelines.experiment.loading import load, resolved_yaml
from pipelines.experiment.schema import Experiment
from pipelines.serving.target import ServeTargetError, server_settings
from tests.model_folder import model_folder

REPOSITORY = Path(__file__).parents[3]
SERVERS = REPOSITORY / "experiments" / "serve"


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Return the folder of a run of the demo as far as its settings go, with a student."""
    experiment = load(REPOSITORY / "experiments" / "demo.yaml", ["data.prompt_suffix=?"], Experiment)
    folder = tmp_path / "demo"
    model = folder / "stages" / "grpo" / "model"
    model_folder(model)
    (folder / "experiment.yaml").write_text(resolved_yaml(experiment))
    problems = [{"question": f"{i}+{i}", "kind": kind} for i, kind in enumerate(["known", "known", "unknowable"] * 3)]
    (folder / "stages" / "filter").mkdir()
    (folder / "stages" / "filter" / "problems.jsonl").write_text("\n".join(map(json.dumps, problems)))
    return folder


def test_a_run_is_served_as_it_was_evaluated(run: Path) -> None:
    settings = server_settings(run)
    assert settings.student.path == str(run / "stages" / "grpo" / "model")
    assert settings.teacher is not None
    assert "chain-arithmetic-teacher" in settings.teacher.path
    assert Path(settings.teacher.path).is_absolute()
    assert (settings.name, settings.prompt_suffix) == ("demo", "?")
    assert (settings.limits.max_new_tokens, settings.limits.max_calls) == (80, 4)
    assert settings.sampling.student.greedy
    assert settings.student.engine.max_model_len == 128
    assert settings.examples == ["0+0", "1+1", "3+3", "2+2", "5+5", "8+8"]


def test_a_student_that_learned_single_questions_sees_no_earlier_ones(run: Path) -> None:
    assert server_settings(run).memory is Memory.QUESTION
    assert server_settings(run, ["memory=conversation"]).memory is Memory.CONVERSATION


def test_a_run_whose_teacher_is_behind_a_url_is_served_with_that_teacher(run: Path) -> None:
    url = "{url: 'http://127.0.0.1:9/v1', model: big, tokenizer: null, pretrain: null}"
    overrides = [f"models.teacher={url}", "data.prompt_suffix=?"]
    experiment = load(REPOSITORY / "experiments" / "demo.yaml", overrides, Experiment)
    (run / "experiment.yaml").write_text(resolved_yaml(experiment))
    settings = server_settings(run)
    assert settings.teacher is not None
    assert (settings.teacher.path, settings.teacher.url, settings.teacher.model) == (
        None,
        "http://127.0.0.1:9/v1",
        "big",
    )


def test_an_engine_cannot_hold_more_than_its_models_context(run: Path) -> None:
    assert server_settings(run, ["teacher.engine.max_model_len=256"]).teacher is not None
    with pytest.raises(ConfigError, match=r"teacher\.engine\.max_model_len \(257\) should be at most 256"):
        server_settings(run, ["teacher.engine.max_model_len=257"])


def test_overrides_change_a_server_of_a_run(run: Path) -> None:
    settings = server_settings(run, ["limits.max_calls=1", "http.port=9000", "teacher.replicas=2"])
    assert settings.teacher is not None
    assert (settings.limits.max_calls, settings.http.port, settings.teacher.replicas) == (1, 9000, 2)
    with pytest.raises(ConfigError, match="max_calls"):
        server_settings(run, ["limits.max_cals=1"])


def test_a_run_without_its_student_is_refused(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for file in (run / "stages" / "grpo" / "model").iterdir():
        file.unlink()
    (run / "stages" / "grpo" / "model").rmdir()
    with pytest.raises(ServeTargetError, match="no trained student yet"):
        server_settings(run)
    assert main(["serve", str(tmp_path)]) == 1
    assert "is no run" in capsys.readouterr().err


def test_the_shipped_servers_are_valid(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for file in ("demo.yaml", "two_folders.yaml"):
        assert load(SERVERS / file, [], ServerSettings).teacher is not None
    demo = load(SERVERS / "demo.yaml", [], ServerSettings)
    assert demo.teacher is not None
    assert (REPOSITORY / demo.teacher.path / "config.json").is_file()


def test_a_server_whose_models_are_missing_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "server.yaml"
    file.write_text(yaml.safe_dump({"name": "a", "student": {"path": "./nowhere"}}))
    assert main(["serve", str(file)]) == 2
    assert "student.path" in capsys.readouterr().err


def test_a_dry_run_prints_settings_that_load_again(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    key = "guards.keys=[{name: me, key_env: A_KEY}]"
    assert main(["serve", str(run), key, "--host", "0.0.0.0", "--port", "0", "--dry-run"]) == 0
    file = tmp_path / "again.yaml"
    file.write_text(capsys.readouterr().out)
    again = load(file, [], ServerSettings)
    assert (again.http.host, again.http.port) == ("0.0.0.0", 0)


def test_a_public_address_without_keys_is_refused_before_anything_starts(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["serve", str(run), "--host", "0.0.0.0"]) == 1
    assert "http.host (0.0.0.0)" in capsys.readouterr().err


def test_a_key_that_is_not_set_is_refused_before_anything_starts(
    run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("A_KEY", raising=False)
    assert main(["serve", str(run), "guards.keys=[{name: me, key_env: A_KEY}]"]) == 1
    assert "guards.keys.0.key_env (A_KEY)" in capsys.readouterr().err


def test_the_ledger_is_beside_the_run(run: Path) -> None:
    assert server_settings(run).guards.ledger == run / "ledger.sqlite"
    assert server_settings(run, ["guards.ledger=/else/where"]).guards.ledger == Path("/else/where")


def test_the_serve_config_names_the_application_and_a_servers_file() -> None:
    config = yaml.safe_load((SERVERS / "serve-config.yaml").read_text())
    (application,) = config["applications"]
    assert application["import_path"] == "pipelines.serving.application:build"
    assert (REPOSITORY / application["args"]["settings"]).is_file()
    ray_service = yaml.safe_load((REPOSITORY / "cluster" / "kuberay" / "rayservice.yaml").read_text())
    (served,) = yaml.safe_load(ray_service["spec"]["serveConfigV2"])["applications"]
    assert served["import_path"] == application["import_path"]
    settings = load(
        REPOSITORY / "experiments" / "serve" / "two_folders.yaml", served["args"]["overrides"], ServerSettings
    )
    assert settings.guards.keys[0].key_env == "RELAY_API_KEY"
