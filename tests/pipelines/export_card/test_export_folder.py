"""The exported folder: a model that transformers loads, whole or not there, and never over what others wrote."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from pipelines.__main__ import main
from pipelines.export_card.finished import ExportError
from pipelines.export_card.folder import BY_HAND, CARD, MARKER, SERVER, export
from tests.pipelines.export_card.conftest import MakeRun


def logprobs(folder: Path, text: str) -> list[float]:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    ids = tokenizer(text, return_tensors="pt").input_ids
    with torch.no_grad():
        found = torch.log_softmax(model(ids).logits[0, :-1], dim=-1)
    chosen: list[float] = found.gather(1, ids[0, 1:, None])[:, 0].tolist()
    return chosen


def test_the_folder_loads_in_transformers_and_gives_the_same_logprobs(make_run: MakeRun, tmp_path: Path) -> None:
    run = make_run()
    folder = export(run, tmp_path / "out" / "student")
    text = "<|user|>03*04+05<|end|><|assistant|>03*04="
    assert logprobs(folder, text) == logprobs(run / "stages" / "grpo" / "model", text)


def test_it_has_the_students_files_a_card_an_example_and_a_list_of_them(make_run: MakeRun, tmp_path: Path) -> None:
    run = make_run()
    folder = export(run, tmp_path / "out")
    own = {file.name for file in (run / "stages" / "grpo" / "model").iterdir()}
    assert {file.name for file in folder.iterdir()} == own | {CARD, BY_HAND, SERVER, MARKER}
    assert json.loads((folder / MARKER).read_text())["files"].keys() == own | {CARD, BY_HAND, SERVER}


def test_a_run_without_grpo_gives_its_warm_student(make_run: MakeRun, tmp_path: Path) -> None:
    run = make_run("grpo.enabled=false", "evaluation.training=[]", stage="warmup")
    assert (export(run, tmp_path / "out") / "config.json").is_file()


def test_an_earlier_export_is_replaced(make_run: MakeRun, tmp_path: Path) -> None:
    run = make_run()
    folder = export(run, tmp_path / "out")
    (folder / BY_HAND).unlink()  # what is missing is no loss
    assert export(run, tmp_path / "out") == folder and (folder / BY_HAND).is_file()


@pytest.mark.parametrize("name", ["notes.txt", ".hidden", "below/notes.txt"])
def test_files_of_others_are_never_overwritten(make_run: MakeRun, tmp_path: Path, name: str) -> None:
    run, to = make_run(), tmp_path / "out"
    (to / name).parent.mkdir(parents=True)
    (to / name).write_text("mine")
    for _ in range(2):  # first without an export in the folder, then beside one
        with pytest.raises(ExportError, match="files that no export wrote"):
            export(run, to)
        assert (to / name).read_text() == "mine"
        fresh = export(run, tmp_path / "fresh")
        shutil.copytree(fresh, to, dirs_exist_ok=True)


def test_a_card_that_was_edited_is_kept(make_run: MakeRun, tmp_path: Path) -> None:
    run = make_run()
    card = export(run, tmp_path / "out") / CARD
    card.write_text(card.read_text().replace("license: other", "license: apache-2.0"))
    with pytest.raises(ExportError, match=r"changed since the export \(README\.md\)"):
        export(run, tmp_path / "out")
    assert "license: apache-2.0" in card.read_text()


@pytest.mark.parametrize("marker", ["", "[]", "{}", '{"files": []}', '{"files": {"a": 1}}'])
def test_a_broken_list_of_files_is_no_permission(make_run: MakeRun, tmp_path: Path, marker: str) -> None:
    run, to = make_run(), tmp_path / "out"
    to.mkdir()
    (to / MARKER).write_text(marker)
    (to / "notes.txt").write_text("mine")
    with pytest.raises(ExportError, match="files that no export wrote"):
        export(run, to)


def test_a_run_that_is_not_done_or_trains_nothing_is_refused(make_run: MakeRun, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="the stage grpo should be done, and is not"):
        export(make_run(done=False), tmp_path / "out")
    shutil.rmtree(tmp_path / "run")
    with pytest.raises(ExportError, match="the run trains no student"):
        export(make_run("warmup.enabled=false", "grpo.enabled=false"), tmp_path / "out")
    with pytest.raises(ExportError, match=r"has no experiment\.yaml"):
        export(tmp_path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_run_without_weights_is_refused(make_run: MakeRun, tmp_path: Path) -> None:
    run = make_run()
    (run / "stages" / "grpo" / "model" / "model.safetensors").unlink()
    with pytest.raises(ExportError, match=r"has no \*\.safetensors"):
        export(run, tmp_path / "out")


@pytest.mark.parametrize("to", ["run", "run/stages/grpo/model", "run/stages/out"])
def test_the_runs_own_folders_are_refused(make_run: MakeRun, tmp_path: Path, to: str) -> None:
    run = make_run()
    with pytest.raises(ExportError):
        export(run, tmp_path / to)
    assert (run / "stages" / "grpo" / "model" / "model.safetensors").is_file()


def test_the_command_says_where_it_wrote_and_why_it_did_not(
    make_run: MakeRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, to = make_run(), tmp_path / "out"
    assert main(["export", str(run), "--to", str(to)]) == 0
    assert capsys.readouterr().out == f"exported: {to}\n"
    (to / "notes.txt").write_text("mine")
    assert main(["export", str(run), "--to", str(to)]) == 2
    assert capsys.readouterr().err.startswith(f"--to {to} has files that no export wrote (notes.txt)")
