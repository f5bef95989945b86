"""Models and data that are missing: folders, files, and names on a hub that does not answer."""

from pathlib import Path

import pytest

from pipelines.doctor.findings import Finding, Level
from pipelines.doctor.models import local_data, made_here, model_folders, on_hub
from pipelines.experiment.schema import Experiment
from tests.model_folder import model_folder
from tests.pipelines.doctor.conftest import demo


def with_student(path: str) -> Experiment:
    return demo("models.student.pretrain=null", f"models.student.path={path}")


def test_a_missing_model_folder_is_a_problem_under_its_key(tmp_path: Path) -> None:
    (found,) = model_folders(with_student(f"{tmp_path}/nothing"))
    assert found.level is Level.PROBLEM and found.name == "models.student.path"
    assert f"{tmp_path}/nothing is no folder" in found.text and "models.student.path" in found.remedy


def test_a_pointer_in_place_of_weights_is_a_problem(tmp_path: Path) -> None:
    folder = model_folder(tmp_path / "model")
    (folder / "model.safetensors").write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    (found,) = model_folders(with_student(str(folder)))
    assert found.level is Level.PROBLEM and "model.safetensors is a Git LFS pointer" in found.text
    assert "git lfs pull" in found.text


def test_a_folder_with_weights_is_fine(tmp_path: Path) -> None:
    folder = model_folder(tmp_path / "model")
    assert [one.level for one in model_folders(with_student(str(folder)))] == [Level.FINE]


def test_the_demo_needs_no_model_from_elsewhere() -> None:
    assert [one.level for one in made_here(demo())] == [Level.FINE]
    assert not list(model_folders(demo())) and not list(on_hub(demo()))


def test_a_bad_row_is_a_problem_with_its_place(tmp_path: Path) -> None:
    file = tmp_path / "train.jsonl"
    file.write_text('{"question": "1+1=", "answer": "2"}\n{"question": "1+2="}\n')
    train = f"data.train={{source: file, path: {file}, kind: sums}}"
    (found,) = local_data(demo(train))
    assert found.level is Level.PROBLEM and found.name == "data.train"
    assert "train.jsonl" in found.text and "2" in found.text
    file.write_text('{"question": "1+1=", "answer": "2"}\n')
    assert [one.level for one in local_data(demo(train))] == [Level.FINE]


def hub(experiment: Experiment, monkeypatch: pytest.MonkeyPatch, home: Path, **variables: str) -> list[Finding]:
    for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_DATASETS_OFFLINE", "HF_HUB_CACHE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HOME", str(home))
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    return list(on_hub(experiment))


def cached_model(home: Path, name: str) -> None:
    repository = home / "hub" / f"models--{name.replace('/', '--')}"
    model_folder(repository / "snapshots" / "abc")
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("abc")


def test_a_hub_that_does_not_answer_is_a_problem_for_what_is_not_cached_and_else_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, nowhere: str
) -> None:
    cached_model(tmp_path, "Org/Cached")
    both = demo(
        "models.student.pretrain=null",
        "models.student.path=Org/Cached",
        "models.teacher.pretrain=null",
        "models.teacher.path=Org/Absent",
    )
    student, teacher = hub(both, monkeypatch, tmp_path, HF_ENDPOINT=f"http://{nowhere}")
    assert student.level is Level.WARNING and "Org/Cached is in the cache" in student.text
    assert "HF_HUB_OFFLINE=1" in student.remedy
    assert teacher.level is Level.PROBLEM and "Org/Absent" in teacher.text and "HF_ENDPOINT" in teacher.remedy
    student, teacher = hub(both, monkeypatch, tmp_path, HF_HUB_OFFLINE="1")
    assert student.level is Level.FINE
    assert teacher.level is Level.PROBLEM and "HF_HUB_OFFLINE is set" in teacher.text


def test_a_data_set_that_is_not_cached_is_a_problem_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    evaluated = demo("data.train={source: benchmark, name: gsm8k}")
    (found,) = hub(evaluated, monkeypatch, tmp_path, HF_HUB_OFFLINE="1")
    assert found.name == "data.train" and found.level is Level.PROBLEM
    assert "openai/gsm8k is not in the cache" in found.text
