"""What is found out before a run is submitted: what cannot work on the cluster, and which variables the run needs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cluster.upload import chosen
from pipelines.experiment.errors import ConfigError
from pipelines.experiment.loading import load
from pipelines.experiment.schema import Experiment
from pipelines.jobs.submission import SubmissionError, prepared
from pipelines.jobs.variables import needed
from tests.pipelines.small import SMALL

QUESTIONS = [{"question": "1+1", "answer": "2"}]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a working directory with an experiment whose models and data are only on the cluster."""
    folder = tmp_path / "project"
    folder.mkdir()
    monkeypatch.chdir(folder)
    text = SMALL.replace("path: a}", "path: /cluster/a}").replace("path: b}", "path: /cluster/b}")
    (folder / "small.yaml").write_text(text.replace("evaluation.jsonl", "/cluster/evaluation.jsonl"))
    return folder


def prepare(*overrides: str, file: str = "small.yaml", **environ: str) -> list[str]:
    return list(prepared(Path(file), ["run_dir=/cluster/runs/small", *overrides], environ).described())


def refused(*overrides: str, file: str = "small.yaml", **environ: str) -> str:
    with pytest.raises((ConfigError, SubmissionError)) as error:
        prepare(*overrides, file=file, **environ)
    return str(error.value)


def test_models_data_and_folders_that_are_only_on_the_cluster_are_no_errors(project: Path) -> None:
    experiment, upload, *_ = prepare()
    assert experiment.startswith("experiment  small.yaml, checked; the code is not in git")
    assert upload.startswith("upload      1 file, ")


def test_results_in_the_folder_of_the_job_are_refused(project: Path) -> None:
    message = refused("run_dir=runs/small", "share_dir=shared", "models.cache_dir=cache")
    assert "run_dir = 'runs/small': should be an absolute path" in message and "run_dir=/shared/runs/small" in message
    assert "share_dir = 'shared'" in message and "models.cache_dir = 'cache'" in message
    with pytest.raises(ConfigError, match="run_dir = 'runs/small'"):
        prepared(Path("small.yaml"), [], {})


def test_a_url_is_no_folder_of_the_job_and_its_credentials_are_handed_on(project: Path) -> None:
    environ = {"AWS_ACCESS_KEY_ID": "an-id-of-somebody", "AWS_PROFILE": "of-this-machine", "HOME": "/nowhere"}
    submission = prepared(Path("small.yaml"), ["run_dir=s3://bucket/runs/small"], environ)
    assert submission.notes.run_dir == "s3://bucket/runs/small"
    assert submission.command[-1] == "run_dir=s3://bucket/runs/small"
    assert submission.notes.variables == ("AWS_ACCESS_KEY_ID",)
    assert prepared(Path("small.yaml"), ["run_dir=/shared/runs/small"], environ).notes.variables == ()


def test_data_with_a_relative_path_has_to_be_uploaded(project: Path) -> None:
    relative = "data.evaluation.0.path=questions.jsonl"
    assert "data.evaluation.0.path = 'questions.jsonl': is not uploaded" in refused(relative)
    (project / "questions.jsonl").write_text("\n".join(map(json.dumps, QUESTIONS)))
    prepare(relative)
    (project / "runs").mkdir()
    (project / "questions.jsonl").rename(project / "runs" / "questions.jsonl")
    assert "is not uploaded" in refused("data.evaluation.0.path=runs/questions.jsonl")


def test_what_is_here_is_read(project: Path) -> None:
    from pipelines.data.sources import DataError

    (project / "questions.jsonl").write_text('{"question": "1+1"}\n')
    with pytest.raises(DataError, match=r"data\.evaluation\.0"):
        prepare("data.evaluation.0.path=questions.jsonl")


def test_a_local_model_that_is_not_uploaded_is_refused(project: Path) -> None:
    (project / "runs" / "model").mkdir(parents=True)
    (project / "runs" / "model" / "config.json").write_text("{}")
    assert "models.student.path = 'runs/model': is not uploaded" in refused("models.student.path=runs/model")
    prepare("models.student.path=Qwen/Qwen3-0.6B")


def test_an_experiment_whose_files_are_elsewhere_is_refused(project: Path, tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text((project / "small.yaml").read_text())
    (project / "child.yaml").write_text("extends: ../base.yaml\n")
    assert "../base.yaml: is not uploaded" in refused(file="child.yaml")
    assert f"{tmp_path}/base.yaml: is not uploaded" in refused(file=str(tmp_path / "base.yaml"))


def test_a_run_that_would_join_another_cluster_is_refused(project: Path) -> None:
    assert "cluster.address = '10.0.0.1:6379': should be empty" in refused("cluster.address=10.0.0.1:6379")


def test_the_job_gets_the_checked_run_directory_last(project: Path) -> None:
    submission = prepared(Path("small.yaml"), ["run_dir=/cluster/runs/small", "seed=3"], {})
    assert submission.command[3:] == ["run", "small.yaml", "seed=3", "run_dir=/cluster/runs/small"]


def test_a_secret_in_the_command_is_refused_by_its_name_alone(project: Path) -> None:
    message = refused("tracking.name=a-secret-key", "tracking.mode=online", WANDB_API_KEY="a-secret-key")
    assert "the value of WANDB_API_KEY stands in the command" in message and "a-secret-key" not in message


def test_a_variable_that_is_not_set_is_refused(project: Path) -> None:
    with pytest.raises(SubmissionError, match="--env HTTPS_PROXY: is not set here"):
        prepared(Path("small.yaml"), ["run_dir=/cluster/runs/small"], {}, ["HTTPS_PROXY"])


def test_a_missing_api_key_of_a_teacher_is_noted(project: Path) -> None:
    served = "models.teacher={url: http://teacher/v1, model: large, api_key_env: TEACHER_API_KEY, path: null}"
    *_, last = prepare(served)
    assert last.startswith("note        TEACHER_API_KEY is not set here")
    assert not any(line.startswith("note") for line in prepare(served, TEACHER_API_KEY="of-the-teacher"))


class TestVariables:
    """Which variables of the user's machine a run needs."""

    ALL = {
        "WANDB_API_KEY": "w", "WANDB_MODE": "online", "HF_TOKEN": "h", "HF_HOME": "/home/me/hf", "HTTPS_PROXY": "p",
        "SSL_CERT_FILE": "/etc/ca", "TEACHER_API_KEY": "t", "PATH": "/bin", "AWS_SECRET_ACCESS_KEY": "a",
    }  # fmt: skip

    @staticmethod
    def of(*overrides: str, environ: dict[str, str], others: tuple[str, ...] = ()) -> set[str]:
        return set(needed(load(Path("small.yaml"), overrides, Experiment), environ, others))

    def test_a_run_without_tracking_and_hub_needs_none(self, project: Path) -> None:
        assert self.of("tracking.mode=disabled", environ=self.ALL) == set()

    def test_tracking_takes_the_key_only_if_it_is_online(self, project: Path) -> None:
        assert self.of(environ=self.ALL) == {"WANDB_API_KEY", "WANDB_MODE"}
        assert self.of(environ=self.ALL | {"WANDB_MODE": "offline"}) == {"WANDB_MODE"}
        assert self.of("tracking.mode=offline", environ=self.ALL) == {"WANDB_MODE"}

    def test_the_key_of_a_login_goes_along(self, project: Path, tmp_path: Path) -> None:
        (tmp_path / ".netrc").write_text("machine api.wandb.ai login user password of-the-login\n")
        experiment = load(Path("small.yaml"), [], Experiment)
        assert needed(experiment, {"HOME": str(tmp_path)}) == {"WANDB_API_KEY": "of-the-login"}
        assert needed(experiment, {"HOME": str(tmp_path), "WANDB_API_KEY": "own"}) == {"WANDB_API_KEY": "own"}

    def test_the_hub_needs_its_token_and_no_paths_of_this_machine(self, project: Path) -> None:
        for override in ("models.student.path=Qwen/Qwen3-0.6B", "data.evaluation=[{source: benchmark, name: gsm8k}]"):
            assert self.of(override, "tracking.mode=disabled", environ=self.ALL) == {"HF_TOKEN"}

    def test_a_teacher_behind_http_needs_its_key(self, project: Path) -> None:
        served = "models.teacher={url: http://teacher/v1, model: large, api_key_env: TEACHER_API_KEY, path: null}"
        assert self.of(served, "tracking.mode=disabled", environ=self.ALL) == {"TEACHER_API_KEY"}

    def test_the_user_may_name_more(self, project: Path) -> None:
        assert self.of("tracking.mode=disabled", environ=self.ALL, others=("HTTPS_PROXY",)) == {"HTTPS_PROXY"}


def test_nothing_but_files_below_the_folder_counts_as_uploaded(project: Path, tmp_path: Path) -> None:
    upload = chosen(project)
    assert upload.has(Path("small.yaml")) and upload.has(project / "small.yaml")
    assert not upload.has(Path("other.yaml")) and not upload.has(tmp_path)
