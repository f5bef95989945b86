"""Model folders that are not whole are refused by one line that names the file, before anything loads them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.model_folder import FolderProblem, check_model_folder, context_tokens
from pipelines.__main__ import main
from pipelines.experiment.errors import ConfigError
from pipelines.experiment.loading import load
from pipelines.experiment.model_paths import check_given_paths, located
from pipelines.experiment.schema import Experiment
from tests.model_folder import model_folder, tensors
from tests.pipelines.small import SMALL

REPOSITORY = Path(__file__).parents[2]
(SHIPPED,) = (REPOSITORY / "pipelines" / "models" / "shipped").glob("chain-arithmetic-student-*")


def cut(file: Path, share: float = 0.5) -> None:
    content = file.read_bytes()
    file.write_bytes(content[: int(len(content) * share)])


def change(file: Path, **values: object) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


BROKEN: dict[str, tuple[Callable[[Path], object], str]] = {
    "pickled weights": (
        lambda folder: (folder / "model.safetensors").rename(folder / "pytorch_model.bin"),
        "has its weights in pytorch_model.bin alone",
    ),
    "no weights": (lambda folder: (folder / "model.safetensors").unlink(), "has no weights: copy its .safetensors"),
    "weights cut off": (lambda folder: cut(folder / "model.safetensors"), "and its header promises"),
    "weights cut off in the header": (lambda folder: cut(folder / "model.safetensors", 0.001), "header cannot be read"),
    "weights that are empty": (lambda folder: cut(folder / "model.safetensors", 0), "header cannot be read"),
    "weights of another kind": (
        lambda folder: (folder / "model.safetensors").write_bytes(b"PK\x03\x04" * 100),
        "header cannot be read",
    ),
    "weights with more than the header says": (
        lambda folder: (folder / "model.safetensors").write_bytes(tensors(8) + b"0"),
        "and its header promises",
    ),
    "a pointer": (
        lambda folder: (folder / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\n"),
        "is a Git LFS pointer",
    ),
    "a shard that is missing": (
        lambda folder: (folder / "model.safetensors.index.json").write_text(
            json.dumps({"weight_map": {"a": "model.safetensors", "b": "model-00002-of-00002.safetensors"}})
        ),
        "model-00002-of-00002.safetensors is missing",
    ),
    "an index of something else": (
        lambda folder: (folder / "model.safetensors.index.json").write_text('{"weight_map": [1]}'),
        "has no weight_map",
    ),
    "a configuration cut off": (lambda folder: cut(folder / "config.json"), "config.json is no JSON"),
    "a configuration that is a list": (lambda folder: (folder / "config.json").write_text("[]"), "should be an object"),
    "a tokenizer cut off": (lambda folder: cut(folder / "tokenizer.json"), "tokenizer.json is no JSON"),
    "a tokenizer without words": (lambda folder: (folder / "tokenizer.json").write_text("{}"), "has no vocabulary"),
    "no room for the vocabulary": (
        lambda folder: change(folder / "config.json", vocab_size=16),
        "token ids up to 28, but config.json has vocab_size = 16",
    ),
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(SHIPPED, tmp_path / "model"))


@pytest.mark.parametrize("name", BROKEN)
def test_a_folder_that_is_not_whole_is_refused_by_its_key_and_file(name: str, folder: Path) -> None:
    assert located("models.student.path", str(folder)) == str(folder)
    spoil, said = BROKEN[name]
    spoil(folder)
    with pytest.raises(ConfigError) as caught:
        located("models.student.path", str(folder))
    (line,) = caught.value.problems
    assert line.startswith(f"models.student.path = '{folder}': {folder}") and said in line and line.isprintable()


def test_a_tokenizers_folder_needs_no_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    assert located("models.teacher.tokenizer", str(folder), of_tokenizer=True) == str(folder)
    cut(folder / "tokenizer.json")
    with pytest.raises(ConfigError, match=r"tokenizer\.json is no JSON"):
        located("models.teacher.tokenizer", str(folder), of_tokenizer=True)


@given(
    st.binary(max_size=64),
    st.sampled_from(["model.safetensors", "config.json", "tokenizer.json", "model.safetensors.index.json"]),
)
def test_a_file_of_any_bytes_is_taken_or_refused(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, name: str
) -> None:
    folder = model_folder(tmp_path_factory.getbasetemp() / "any")
    (folder / "tokenizer.json").write_text('{"model": {"vocab": {"a": 0}}}')
    (folder / "model.safetensors.index.json").unlink(missing_ok=True)
    (folder / name).write_bytes(content)
    with suppress(FolderProblem):
        check_model_folder(folder)


def test_a_run_with_a_broken_model_ends_with_status_2_and_has_written_nothing(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "evaluation.jsonl").write_text('{"question": "1+1", "answer": "2"}\n')
    (tmp_path / "small.yaml").write_text(SMALL)
    cut(folder / "model.safetensors")
    before = sorted(tmp_path.rglob("*"))
    models = ["models.student.path=./model", "models.teacher.path=some/teacher"]
    for dry in ([], ["--dry-run"]):
        assert main(["run", "small.yaml", *models, *dry]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith("models.student.path = './model'") and "its header promises" in line
        assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("config", "tokens"),
    [
        ({"max_position_embeddings": 256}, 256),
        ({"max_position_embeddings": 256, "rope_parameters": {"rope_type": "default", "rope_theta": 1e4}}, 256),
        ({"max_position_embeddings": 256, "rope_scaling": None}, 256),
        ({"max_position_embeddings": 256, "rope_scaling": {"type": "yarn", "factor": 4.0}}, None),
        ({"text_config": {"max_position_embeddings": 512}}, 512),
        ({"max_position_embeddings": "many"}, None),
        ({}, None),
    ],
)
def test_how_long_a_models_context_is(tmp_path: Path, config: dict[str, object], tokens: int | None) -> None:
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert context_tokens(tmp_path) == tokens


def test_a_run_whose_engine_holds_more_than_the_models_context_is_refused(tmp_path: Path) -> None:
    overrides = [f"models.student={{path: {SHIPPED}, pretrain: null}}", "rollout.engine.max_model_len=300"]
    experiment = load(REPOSITORY / "experiments" / "demo.yaml", overrides, Experiment)
    with pytest.raises(ConfigError, match=r"rollout\.engine\.max_model_len \(300\) should be at most 256"):
        check_given_paths(experiment)
