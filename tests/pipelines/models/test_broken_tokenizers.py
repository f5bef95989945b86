"""Tokenizers that cannot write prompts are refused in one line, before Ray or an actor starts, and no code of theirs runs."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from pipelines import driver
from pipelines.__main__ import main
from pipelines.data.chat_templates import PromptError
from pipelines.data.prompts import PromptBuilder
from tests.pipelines.small import SMALL

SHIPPED = Path(__file__).parents[3] / "pipelines" / "models" / "shipped"
(STUDENT,) = SHIPPED.glob("chain-arithmetic-student-*")
(TEACHER,) = SHIPPED.glob("chain-arithmetic-teacher-*")


def change(file: Path, *keys: str, value: object) -> None:
    content = inner = json.loads(file.read_text())
    for key in keys[:-1]:
        inner = inner[key]
    inner[keys[-1]] = value
    file.write_text(json.dumps(content))


def template(text: str) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        (folder / "chat_template.jinja").write_text(text)

    return write


BROKEN: dict[str, tuple[Callable[[Path], None], str]] = {
    "a template that refuses": (template("{{ raise_exception('only in English') }}"), "only in English"),
    "a template that divides by zero": (template("{{ 1 / 0 }}"), "division by zero"),
    "a template without an end": (template("{% if messages %}"), "Unexpected end of template"),
    "a template that calls what is not there": (template("{{ messages[0].text() }}"), "has no attribute 'text'"),
    "a template of a billion steps": (template("{% for i in range(10**9) %}{% endfor %}"), "Range too big"),
    "a template that leaves its box": (template("{{ ''.__class__.__mro__[1].__subclasses__() }}"), "is unsafe"),
    "an empty template": (template(""), "has no chat template"),
    "a model of another kind": (
        lambda folder: change(folder / "tokenizer.json", "model", "type", value="Unheard"),
        "its tokenizer cannot be loaded",
    ),
    "a model without parts": (
        lambda folder: change(folder / "tokenizer.json", "pre_tokenizer", value=7),
        "its tokenizer cannot be loaded",
    ),
    "no end of text": (
        lambda folder: change(folder / "tokenizer_config.json", "eos_token", value=None),
        "has no eos_token",
    ),
    "settings that are a list": (
        lambda folder: (folder / "tokenizer_config.json").write_text("[]") and None,
        "its tokenizer cannot be loaded",
    ),
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(STUDENT, tmp_path / "model"))


@pytest.mark.parametrize("name", BROKEN)
def test_a_tokenizer_that_is_broken_is_refused_by_its_model(name: str, folder: Path) -> None:
    spoil, said = BROKEN[name]
    spoil(folder)
    with pytest.raises(PromptError) as caught:
        PromptBuilder(folder, TEACHER, "")
    assert str(folder) in str(caught.value) and said in str(caught.value) and "\n" not in str(caught.value)


def test_the_code_of_a_tokenizer_never_runs(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Left to itself, transformers asks at the terminal."""
    monkeypatch.setattr("builtins.input", lambda *_: "y")
    (folder / "own.py").write_text(
        f"open({str(tmp_path / 'ran')!r}, 'w')\nfrom transformers import PreTrainedTokenizerFast as Own\n"
    )
    for key, value in (("tokenizer_class", "Own"), ("auto_map", {"AutoTokenizer": ["own.Own", "own.Own"]})):
        change(folder / "tokenizer_config.json", key, value=value)
    change(folder / "config.json", "model_type", value="own")
    with suppress(PromptError):
        PromptBuilder(folder, TEACHER, "")
    assert not (tmp_path / "ran").exists()


def test_a_run_with_such_a_tokenizer_ends_before_ray_starts(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(driver, "ray_session", lambda *_: pytest.fail("Ray was started"))
    (tmp_path / "evaluation.jsonl").write_text('{"question": "1+1", "answer": "2"}\n')
    (tmp_path / "small.yaml").write_text(SMALL)
    template("{{ raise_exception('only in English') }}")(folder)
    models = [
        f"models.student.path={folder}",
        f"models.teacher.path={TEACHER}",
        *(f"{engine}.engine.max_model_len=256" for engine in ("teacher", "rollout")),
    ]
    models += [f"{stage}.limits.max_new_tokens=64" for stage in ("grpo", "evaluation")]
    assert main(["run", "small.yaml", *models]) == 2
    *_, line = capsys.readouterr().err.splitlines()  # libraries may have said something before
    assert line.startswith(f"{folder}: the chat template fails") and line.endswith("only in English")
    assert not (tmp_path / "runs" / "small" / "experiment.yaml").exists()
