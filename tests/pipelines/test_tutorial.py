"""docs/tutorial.md, followed to the letter on the two tiny models that come with the package."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from pipelines.data.parsing import ProblemColumns, problem_of, written
from pipelines.experiment.loading import load
from pipelines.experiment.schema import Experiment
from tests.pipelines.conftest import MakeTable
from tests.pipelines.page_blocks import ROOT, blocks_of, run_in

BLOCKS = blocks_of("tutorial.md")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with the files of the page."""
    for block in BLOCKS:
        if block.file is not None:
            (tmp_path / block.file).write_text(block.text, encoding="utf-8")
    return tmp_path


def commands(*when: str | None) -> list[str]:
    return [block.text for block in BLOCKS if block.language == "bash" and block.when in when]


def accuracies(run: Path) -> dict[tuple[str, str], float]:
    """Return the last accuracy of each policy and kind."""
    rows = [json.loads(line) for line in (run / "evaluations.jsonl").read_text(encoding="utf-8").splitlines()]
    return {(row["policy"], row["kind"]): row["accuracy"] for row in rows}


def test_the_rows_that_the_page_shows_are_problems() -> None:
    (shown,) = [block.text for block in BLOCKS if block.language == "jsonl"]
    columns = ProblemColumns(("question",), (("answer", written),))
    found = [problem_of(json.loads(line), columns, "own") for line in shown.splitlines()]
    assert [problem.gold for problem in found] == ["25", "60"]


def test_the_page_gives_models_and_problems_to_begin_with(folder: Path) -> None:
    for command in commands(None):
        if "relayllm" not in command:
            run_in(folder, command)
    assert {path.name for path in folder.iterdir()} >= {"student", "teacher", "train.jsonl", "evaluation-sums.jsonl"}
    assert len((folder / "train.jsonl").read_text().splitlines()) == 1200
    run_in(folder, "relayllm run experiment.yaml --dry-run")


def test_the_page_prints_the_teachers_answers(folder: Path, table_of: MakeTable) -> None:
    stage = folder / "runs/trial/stages/evaluate-base-teacher"
    stage.mkdir(parents=True)
    table = table_of(
        [
            {"question": "2+3", "text": "2+3=05;\\boxed{05}", "correct": True},
            {"question": "2*3", "text": "2*3=08;\\boxed{08}", "correct": False},
        ]
    )
    (stage / "answers.parquet").write_bytes(table.to_bytes())
    (reading,) = commands("after the trial")
    assert run_in(folder, reading).splitlines() == [
        "2+3 | 2+3=05;\\boxed{05} | right",
        "2*3 | 2*3=08;\\boxed{08} | wrong: 1",
    ]


def test_without_the_half_for_tiny_models_the_blocks_of_the_experiment_for_gpus_fit_in(folder: Path) -> None:
    own, shipped = folder / "experiment.yaml", ROOT / "experiments" / "gpu.yaml"
    first, half, _ = own.read_text(encoding="utf-8").partition("# Delete this half")
    content = yaml.safe_load(first)
    content |= {
        key: value
        for key, value in yaml.safe_load(shipped.read_text(encoding="utf-8")).items()
        if key in {"rollout", "learner", "cluster"}
    }
    own.write_text(yaml.safe_dump(content), encoding="utf-8")
    assert half
    assert load(own, [], Experiment).grpo.limits.max_new_tokens > 1000


@pytest.mark.slow
def test_the_page_leads_from_problems_to_a_trial_with_a_report(folder: Path) -> None:
    for command in commands(None):
        run_in(folder, command)
    (reading,) = commands("after the trial")
    assert len(run_in(folder, reading).splitlines()) == 5
    assert (folder / "runs/trial/report.html").is_file()
    assert (folder / "runs/trial/stages/grpo/model/model.safetensors").is_file()
    assert not (folder / "runs/own").exists()  # which a dry run would have made


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_the_page_leads_to_a_student_that_calls_for_products(folder: Path) -> None:
    split = [command for command in commands(None) if "relayllm" not in command]
    *before, listing, again = commands("slow")
    for command in [*split, *before]:
        run_in(folder, command)
    assert "model.safetensors" in run_in(folder, listing)
    reached = accuracies(folder / "runs/own")
    assert reached["relay", "products"] > reached["student", "products"] + 0.4
    assert reached["relay", "sums"] > 0.9
    run_in(folder, again)
    assert accuracies(folder / "runs/own-again")["relay", "products"] == pytest.approx(
        reached["relay", "products"], abs=0.05
    )
