"""Pretraining data of the base models, and where they are cached."""

import itertools
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from actors.learner.batches import TokenSequences
from actors.tiny_models import END, write_tokenizer
from pipelines.experiment import ModelSettings, ModelsSettings, PretrainSettings
from pipelines.stages.base_models import cached_path, pretraining_rows
from pipelines.tasks.chain_arithmetic import Chain, Kind, Split, Step

PROMPT, ANSWER = "<|user|>", f"{END}<|assistant|>"


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> PreTrainedTokenizerBase:
    folder = tmp_path_factory.mktemp("tokenizer")
    write_tokenizer(folder, "text")
    return AutoTokenizer.from_pretrained(folder)


def texts(rows: TokenSequences, tokenizer: PreTrainedTokenizerBase) -> list[tuple[str, str]]:
    """Each row's text outside and inside the loss."""
    found = []
    for start, end in itertools.pairwise(rows.offsets):
        ids, mask = rows.token_ids[start:end], rows.loss_mask[start:end]
        found.append((tokenizer.decode(ids[~mask]), tokenizer.decode(ids[mask])))
    return found


def questions(rows: TokenSequences, tokenizer: PreTrainedTokenizerBase) -> list[str]:
    return [prompt.removeprefix(PROMPT).removesuffix(ANSWER) for prompt, _ in texts(rows, tokenizer)]


def split_of(question: str) -> Split:
    steps = [Step(int(question[:2]), question[i], int(question[i + 1 : i + 3]), 0) for i in range(2, len(question), 3)]
    chain = Chain(tuple(steps))
    assert chain.question == question
    return chain.split


def kind_of(question: str) -> Kind:
    return Kind.UNKNOWABLE if "?" in question else Kind.TEACHER_KNOWN if "*" in question else Kind.KNOWN


def test_the_loss_is_on_the_solution_and_its_end(tokenizer: PreTrainedTokenizerBase) -> None:
    rows = pretraining_rows("teacher", PretrainSettings(problems_per_step=8), tokenizer, 0, 2)
    assert len(rows) == 16
    for prompt, solution in texts(rows, tokenizer):
        question = prompt.removeprefix(PROMPT).removesuffix(ANSWER)
        assert prompt == PROMPT + question + ANSWER
        assert solution.startswith(question[:5] + "=")
        assert solution.endswith("}" + END)


def test_no_row_is_from_the_evaluation_split(tokenizer: PreTrainedTokenizerBase) -> None:
    seen = questions(pretraining_rows("student", PretrainSettings(), tokenizer, 0, 10), tokenizer)
    assert {kind_of(question) for question in seen} == set(Kind)
    assert {split_of(question) for question in seen} == {Split.TRAIN}


def test_kinds_come_in_the_shares_of_the_mix(tokenizer: PreTrainedTokenizerBase) -> None:
    settings = PretrainSettings(mix={Kind.KNOWN: 3, Kind.TEACHER_KNOWN: 1, Kind.UNKNOWABLE: 0})
    found = Counter(map(kind_of, questions(pretraining_rows("student", settings, tokenizer, 0, 32), tokenizer)))
    assert found[Kind.UNKNOWABLE] == 0
    assert found[Kind.KNOWN] / found.total() == pytest.approx(0.75, abs=0.04)  # four standard deviations


def test_equal_seeds_give_equal_rows_and_later_steps_others(tokenizer: PreTrainedTokenizerBase) -> None:
    def rows(seed: int, first: int) -> list[int]:
        made = pretraining_rows("student", PretrainSettings(seed=seed), tokenizer, first, first + 1)
        return made.token_ids.tolist()

    assert rows(seed=1, first=0) == rows(seed=1, first=0)
    assert rows(seed=1, first=0) != rows(seed=2, first=0)
    assert rows(seed=1, first=0) != rows(seed=1, first=1)


def test_the_student_learns_wrong_products_and_the_teacher_right_ones(tokenizer: PreTrainedTokenizerBase) -> None:
    def right_products(role: str) -> set[bool]:
        settings = PretrainSettings(mix={Kind.TEACHER_KNOWN: 1})
        steps = [
            step
            for _, solution in texts(pretraining_rows(role, settings, tokenizer, 0, 2), tokenizer)
            for step in solution.split(";")
            if "*" in step
        ]
        return {int(step[:2]) * int(step[3:5]) % 100 == int(step[6:8]) for step in steps}

    assert right_products("teacher") == {True}
    assert right_products("student") == {False}


def cache(role: str, cache_dir: Path, **settings: object) -> Path:
    model = ModelSettings(pretrain=PretrainSettings.model_validate(settings))
    found = cached_path(role, model, ModelsSettings(student=model, teacher=model, cache_dir=cache_dir))
    assert found is not None
    return found


def test_a_cached_model_is_found_again_by_its_role_and_settings_alone(tmp_path: Path) -> None:
    base = cache("student", tmp_path)
    assert base.parent == tmp_path
    assert cache("student", tmp_path) == base
    assert cache("student", tmp_path / "other").name == base.name
    others = [
        cache("teacher", tmp_path),
        cache("student", tmp_path, steps=10),
        cache("student", tmp_path, seed=1),
        cache("student", tmp_path, command_tokens="special"),
        cache("student", tmp_path, architecture={"layers": 3}),
        cache("student", tmp_path, mix={"known": 1}),
        cache("student", tmp_path, optimizer={"lr": 1e-3}),
    ]
    assert len({base, *others}) == 8


def test_a_model_with_a_path_is_not_cached(tmp_path: Path) -> None:
    model = ModelSettings(path="somewhere")
    assert cached_path("student", model, ModelsSettings(student=model, teacher=model, cache_dir=tmp_path)) is None


def test_rows_are_laid_out_step_by_step(tokenizer: PreTrainedTokenizerBase) -> None:
    rows = pretraining_rows("student", PretrainSettings(problems_per_step=5), tokenizer, 3, 7)
    assert len(rows) == 4 * 5
    assert np.all(np.diff(rows.offsets) > 0)
    assert rows.offsets[-1] == len(rows.token_ids) == len(rows.loss_mask)
