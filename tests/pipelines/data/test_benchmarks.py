"""Benchmarks load whole from real files, and their gold answers are graded right."""

import asyncio
import os
import random
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from actors.grading import GradingPool, GradingSettings, Verdict
from pipelines.data.benchmarks import BENCHMARKS, BenchmarkName
from pipelines.data.chain_arithmetic.task import Split
from pipelines.data.settings import BenchmarkSource
from pipelines.data.sources import ProblemSet, load_source
from rewards.numbers import parse_number
from rewards.verification import verify, verify_symbolically

FOLDER = Path(os.environ.get("RELAY_BENCHMARKS", Path(__file__).parents[4] / "shared" / "benchmarks"))
FILES = {
    "gsm8k": "gsm8k",
    "minerva": "minerva_math",
    "olympiadbench": "olympiadbench",
    "aime24": "aime24",
    "amc23": "amc23",
}
NOT_MATHEMATICS = {
    r"m_{\max }=n^{2}-n-1",
    r"f(x)=a x+b, where b is an arbitrary integer, and a is an arbitrary positive integer with \mho(a)=0",
    r"(-\infty, 0) \cup\{1\}.",
    "t(0,4]",
}
"""OlympiadBench golds that math-verify cannot parse: only the same text is correct"""


@cache
def golds(name: str) -> tuple[str, ...]:
    path = FOLDER / f"{FILES[name]}.jsonl"
    if not path.is_file():
        pytest.skip(f"no {path}")
    found = load_source(BenchmarkSource(source="benchmark", name=BenchmarkName(name), path=path), Split.EVALUATION)
    assert len(found.problems) in BENCHMARKS[BenchmarkName(name)].sizes
    assert found.skipped == ()
    return tuple(problem.gold for problem in found.problems)


def grade(items: Sequence[tuple[str, str]]) -> list[Verdict]:
    pool = GradingPool(GradingSettings(workers=2, timeout_s=20))
    try:
        return asyncio.run(pool.grade([(rf"So \boxed{{{answer}}}.", gold) for answer, gold in items]))
    finally:
        pool.close()


@pytest.mark.parametrize("name", FILES)
def test_every_gold_of_a_benchmark_is_correct_in_a_box(name: str) -> None:
    verdicts = grade([(gold, gold) for gold in golds(name)])
    assert [gold for gold, verdict in zip(golds(name), verdicts, strict=True) if not verdict.correct] == []


@pytest.mark.parametrize("name", FILES)
def test_another_problems_gold_is_wrong(name: str) -> None:
    own = golds(name)
    others = [next(gold for gold in own[i:] + own[:i] if gold != own[i]) for i in range(len(own))]
    pairs = list(zip(others, own, strict=True))
    assert [pair for pair, verdict in zip(pairs, grade(pairs), strict=True) if verdict.correct] == []


@pytest.mark.parametrize("name", FILES)
def test_every_integer_gold_differs_from_its_successor(name: str) -> None:
    numbers = [(gold, parse_number(gold.strip("$"))) for gold in golds(name)]
    integers = [(gold, number.value) for gold, number in numbers if number and number.value.denominator == 1]
    assert len(integers) >= 30
    assert [gold for gold, value in integers if verify(str(value + 1), gold)] == []


def test_algebra_parses_the_expressions_of_a_benchmark() -> None:
    bare = [gold.replace("$", "") for gold in golds("olympiadbench")]
    symbolic = [gold for gold in bare if parse_number(gold.replace(" ", "")) is None and gold not in NOT_MATHEMATICS]
    sample = random.Random(0).sample(symbolic, 80)
    assert [gold for gold in sample if not verify_symbolically(gold, gold)] == []


ROWS: dict[str, tuple[list[dict[str, Any]], list[tuple[str, str]]]] = {
    "minerva": ([{"question": "q", "answer": r"\frac{1}{2}"}], [(r"\frac{1}{2}", "free")]),
    "math500": (
        [
            {
                "problem": "q",
                "solution": r"so \boxed{5}",
                "answer": "5",
                "subject": "Algebra",
                "level": 2,
                "unique_id": "1",
            }
        ],
        [("5", "free")],
    ),
    "gsm8k": ([{"question": "q", "answer": "2 * 600 = 1200\n#### 1,200"}], [("1,200", "free")]),
    "olympiadbench": ([{"question": "q", "final_answer": ["$1$", "$2$"], "context": None}], [("$1$, $2$", "free")]),
    "aime24": ([{"id": 60, "problem": "q", "solution": "s", "answer": "025", "year": "2024"}], [("025", "free")]),
    "aime25": ([{"problem": "q", "answer": "70", "id": "0"}], [("70", "free")]),
    "amc23": ([{"id": 0, "question": "q", "answer": "27.0", "url": "u"}], [("27.0", "free")]),
    "bbeh": (
        [
            {"task": "boolean expressions", "input": "q (A) x (B) y", "target": "(B)", "mini": 1},
            {"task": "word sorting", "input": "sort", "target": "1, 2, 3", "mini": 0},
        ],
        [("B", "option"), ("1, 2, 3", "free")],
    ),
    "mmlu_pro": (
        [{"question_id": 70, "question": "q", "options": list("uvwxyzabcd"), "answer": "J", "answer_index": 9}],
        [("J", "option")],
    ),
    "supergpqa": (
        [{"uuid": "1", "question": "q", "options": ["u", "v"], "answer": "v", "answer_letter": "B"}],
        [("B", "option")],
    ),
    "dapo17k": (
        [
            {
                "prompt": [
                    {
                        "role": "user",
                        "content": "Solve the following math problem step by step. The last line of your response should be "
                        "of the form Answer: $Answer (without quotes) where $Answer is the answer to the problem.\n\n"
                        + question
                        + '\n\nRemember to put your answer on its own line after "Answer:".',
                    }
                ],
                "reward_model": {"ground_truth": gold, "style": "rule-lighteval/MATH_v2"},
            }
            for question, gold in (("q", "34"), ("r", "5"), ("q", "34"))
        ],
        [("34", "free"), ("5", "free")],
    ),
}
"""rows with the columns of the hub's copies, and the gold answers that they hold"""


def load_from_hub(name: str, monkeypatch: pytest.MonkeyPatch, **keys: Any) -> tuple[ProblemSet, list[tuple[Any, ...]]]:
    import datasets

    asked: list[tuple[Any, ...]] = []

    def load_dataset(hub: str, config: str | None, split: str) -> datasets.Dataset:
        asked.append((hub, config, split))
        return datasets.Dataset(pa.Table.from_pylist(ROWS[name][0]))

    monkeypatch.setattr("datasets.load_dataset", load_dataset)
    found = load_source(BenchmarkSource(source="benchmark", name=BenchmarkName(name), **keys), Split.EVALUATION)
    return found, asked


@pytest.mark.parametrize("name", [name.value for name in BenchmarkName])
def test_a_benchmark_is_read_from_the_hub(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    found, asked = load_from_hub(name, monkeypatch)
    benchmark = BENCHMARKS[BenchmarkName(name)]
    assert asked == [(benchmark.hub, benchmark.config, benchmark.split)]
    assert [(problem.gold, problem.form) for problem in found.problems] == ROWS[name][1]
    assert {problem.kind for problem in found.problems} == {name}


def test_another_split_may_be_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    _, asked = load_from_hub("gsm8k", monkeypatch, split="train")
    assert asked == [("openai/gsm8k", "main", "train")]


def test_instructions_and_repeated_rows_of_the_training_set_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    found, _ = load_from_hub("dapo17k", monkeypatch)
    assert [problem.question for problem in found.problems] == ["q", "r"]
    assert found.rows == (0, 1)


def test_a_set_of_another_size_than_published_is_said(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    load_from_hub("math500", monkeypatch)
    assert "math500 has 1 problems here, and 500 as published" in caplog.text


def test_every_name_has_a_benchmark_and_a_row_here() -> None:
    assert set(BENCHMARKS) == set(BenchmarkName)
    assert set(ROWS) == {name.value for name in BenchmarkName}
