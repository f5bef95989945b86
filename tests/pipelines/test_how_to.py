"""The recipes of docs/how-to.md: every file prints what the page says, and every command is accepted."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest

from tests.pipelines.page_blocks import Block, blocks_of, run_in
from tests.pipelines.small import SMALL

BLOCKS = blocks_of("how-to.md")
RECIPES = [(block, printed) for block, printed in pairwise(BLOCKS) if block.language == "python"]
COMMANDS = [block.text for block in BLOCKS if block.language == "bash" and block.when is None]
(OWN_REWARD,) = [block.text.rstrip() for block in BLOCKS if block.when == "slow"]
TUTORIAL = blocks_of("tutorial.md")
SHORT = (
    "data.train.limit=24 data.evaluation.0.limit=4 data.evaluation.1.limit=4 warmup.samples=24 warmup.copies=1 "
    "grpo.steps=1 grpo.prompts_per_step=2 grpo.group_size=2 grpo.mini_batches=1"
)


@pytest.mark.parametrize(("recipe", "printed"), RECIPES, ids=[str(recipe.file) for recipe, _ in RECIPES])
def test_a_recipe_prints_what_the_page_says(recipe: Block, printed: Block, tmp_path: Path) -> None:
    assert recipe.file is not None and printed.language == "text"
    (tmp_path / recipe.file).write_text(recipe.text, encoding="utf-8")
    assert run_in(tmp_path, f"python {recipe.file}") == printed.text


def test_every_python_block_is_a_recipe() -> None:
    assert [block.file for block in BLOCKS if block.language == "python" and block.file is None] == []
    assert len(RECIPES) == 4


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with the files of the page, and with an experiment such as the tutorial's."""
    for block in BLOCKS:
        if block.file is not None:
            (tmp_path / block.file).write_text(block.text, encoding="utf-8")
    (tmp_path / "experiment.yaml").write_text(SMALL, encoding="utf-8")
    (tmp_path / "evaluation.jsonl").write_text('{"question": "1+1", "answer": "2"}\n', encoding="utf-8")
    return tmp_path


def test_a_run_finds_the_reward_scheme(folder: Path) -> None:
    assert "scheme: flat_price:flat_price" in run_in(folder, COMMANDS[0])


def test_a_run_with_the_scheme_has_a_directory_of_its_own(folder: Path) -> None:
    shown = run_in(folder, f"{OWN_REWARD} --dry-run")
    assert "name: flat-price" in shown and "scheme: flat_price:flat_price" in shown


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_after_the_tutorial_a_run_with_the_scheme_trains(tmp_path: Path) -> None:
    for block in (*BLOCKS, *TUTORIAL):
        if block.file is not None:
            (tmp_path / block.file).write_text(block.text, encoding="utf-8")
    for block in TUTORIAL:
        if block.language == "bash" and block.when is None and "relayllm" not in block.text:
            run_in(tmp_path, block.text)
    run_in(tmp_path, f"{OWN_REWARD} {SHORT}")
    assert (tmp_path / "runs/flat-price/stages/grpo/model/model.safetensors").is_file()


def test_a_run_with_a_served_teacher_reserves_no_place_for_one(folder: Path) -> None:
    assert len(COMMANDS) == 2
    output = run_in(folder, COMMANDS[1])
    assert "url: http://localhost:8000/v1" in output and "api_key_env: TEACHER_KEY" in output
    actors = [line.split()[1] for line in output.partition("resources (")[2].splitlines() if line.startswith("# ")]
    assert "rollout-0" in actors and "teacher" not in actors
