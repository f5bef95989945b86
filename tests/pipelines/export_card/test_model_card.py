"""The model card: what the run says, as Markdown and as metadata that the hub can read."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from huggingface_hub import ModelCard, metadata_load

from pipelines.experiment.errors import ConfigError
from pipelines.export_card.card import model_card
from pipelines.export_card.finished import finished_run
from pipelines.export_card.folder import export
from pipelines.records.evaluations import wilson_interval
from pipelines.serving.target import server_settings
from pipelines.wording import percent
from tests.pipelines.evaluation_rows import row
from tests.pipelines.export_card.conftest import MakeRun


def test_every_kind_has_the_runs_numbers(make_run: MakeRun) -> None:
    lines = model_card(finished_run(make_run())).splitlines()
    cells = {line.split(" | ")[0].strip("| "): line for line in lines if line.startswith("| ")}

    def accuracy(right: int) -> str:
        low, high = wilson_interval(right, 200)
        return f"{percent(right / 200)} ({100 * low:.1f}–{100 * high:.1f})"

    known = ("known to both", "200", accuracy(199), accuracy(198), accuracy(197), accuracy(194), percent(0.0123))
    harder = ("teacher only", "200", accuracy(3), accuracy(196), accuracy(5), accuracy(187), percent(0.0987))
    for row_of_card in (known, harder):
        assert cells[row_of_card[0]] == f"| {' | '.join(row_of_card)} |"


def test_what_got_worse_is_said(make_run: MakeRun) -> None:
    rows = [row("base", 0, "student", "known", 199), row("final", 80, "relay", "known", 120)]
    card = model_card(finished_run(make_run(rows=rows)))
    assert "The relay student solves only" in card and "no kind of problem clearly more often" in card


def test_stages_seeds_and_grammar_are_those_of_the_run(make_run: MakeRun) -> None:
    run = make_run(
        "seed=7", "grpo.steps=13", "grpo.optimizer.lr=0.00123", "filter.samples=5", "data.prompt_suffix= Think `hard`."
    )
    card = model_card(finished_run(run))
    assert "13 steps of" in card and "learning rate 0.00123" in card and "answered each problem 5 times" in card
    assert "| seeds | run 7, training problems 0" in card
    assert "`<call>n</call>`" in card and "``  Think `hard`. ``" in card


def test_stages_that_were_off_are_said_to_be(make_run: MakeRun) -> None:
    run = make_run("grpo.enabled=false", "evaluation.training=[]", "filter.enabled=false", stage="warmup")
    card = model_card(finished_run(run))
    assert "**Data filter.** None" in card and "**GRPO.** None" in card


@pytest.mark.parametrize("suffix", ["", ' Put "it" in \\boxed{}.'])
def test_the_servers_file_can_be_served(
    make_run: MakeRun, tmp_path: Path, shipped: dict[str, Path], monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    run = make_run("data.prompt_suffix=" + json.dumps(suffix), "evaluation.limits.max_calls=3")
    folder = export(run, tmp_path / "out")
    monkeypatch.chdir(folder)
    assert "relayllm serve server.yaml teacher.path=FOLDER\n" in Path("README.md").read_text()
    with pytest.raises(ConfigError, match=r"teacher\.path = '\./teacher': .* is no folder"):
        server_settings(Path("server.yaml"))
    settings = server_settings(Path("server.yaml"), [f"teacher.path={shipped['teacher']}"])
    assert settings.student.engine.max_model_len == 128 and settings.sampling.student.greedy
    assert Path(settings.student.path).samefile(folder) and settings.prompt_suffix == suffix
    assert settings.limits.max_calls == 3


def test_a_run_without_evaluations_says_so(make_run: MakeRun) -> None:
    assert "The run has no evaluation." in model_card(finished_run(make_run(rows=[])))


def test_the_hub_can_read_the_metadata(make_run: MakeRun, tmp_path: Path) -> None:
    folder = export(make_run(), tmp_path / "out")
    card = ModelCard.load(folder / "README.md")
    assert card.data.license == "other" and card.data.license_name == "to-be-named-by-the-publisher"
    assert (card.data.library_name, card.data.pipeline_tag) == ("transformers", "text-generation")
    found = {(one.dataset_name, one.metric_name): one.metric_value for one in card.data.eval_results}
    assert found["teacher only", "accuracy, with its teacher"] == 0.935
    assert found["teacher only", "accuracy, without a teacher"] == 0.025
    assert found["teacher only", "call ratio: teacher-written tokens / output tokens"] == 0.0987
    assert "base_model" not in (metadata_load(folder / "README.md") or {})  # it is none of the hub's


def test_models_and_data_of_the_hub_are_linked(make_run: MakeRun, tmp_path: Path) -> None:
    overrides = [
        "models.student={path: Qwen/Qwen3-0.6B, pretrain: null}",
        "models.teacher={path: Qwen/Qwen3-8B, pretrain: null}",
        "data.train={source: benchmark, name: dapo17k}",
        "data.evaluation=[{source: benchmark, name: math500}]",
    ]
    rows = [row("base", 0, "student", "math500", 20), row("final", 80, "relay", "math500", 90)]
    folder = export(make_run(*overrides, rows=rows), tmp_path / "out")
    data = metadata_load(folder / "README.md")
    assert data is not None and data["base_model"] == "Qwen/Qwen3-0.6B" and len(data["datasets"]) == 1
    assert data["model-index"][0]["results"][0]["dataset"]["type"] == "HuggingFaceH4/MATH-500"
    assert "[Qwen/Qwen3-8B](https://huggingface.co/Qwen/Qwen3-8B)" in (folder / "README.md").read_text()


def test_no_path_of_this_machine_stands_in_it(make_run: MakeRun, tmp_path: Path, shipped: dict[str, Path]) -> None:
    secret = tmp_path / "home-of-somebody"
    overrides = [
        f"models.student={{path: {shipped['student']}, pretrain: null}}",
        f"data.train={{source: file, path: {secret}/train.jsonl, kind: algebra}}",
        f"models.cache_dir={secret}",
    ]
    folder = export(make_run(*overrides), tmp_path / "out")
    for file in ("README.md", "relayllm_export.json"):
        text = (folder / file).read_text()
        assert str(tmp_path) not in text and str(shipped["student"].parent) not in text


@pytest.mark.parametrize("name", ["demo", "with.dots-and_more"])
def test_the_name_is_the_runs(make_run: MakeRun, name: str) -> None:
    assert f"\n# {name}: a relay student\n" in model_card(finished_run(make_run(f"name={name}")))
