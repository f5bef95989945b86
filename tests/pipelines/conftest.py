"""Tables of made-up answers, and a stand-in for where GRPO's problems are decoded and graded."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from benchmarks._stand_ins import graded_group
from pipelines.data.problem import Problem
from pipelines.records.answers import AnswerTable
from pipelines.rollout.decode_and_grade import GradedOrder

Row = dict[str, Any]
MakeTable = Callable[..., AnswerTable]


def _table(rows: Sequence[Row]) -> AnswerTable:
    """Rows name what matters to a test; calls are (position, requested, written, prompt tokens, cached tokens)."""
    samples: dict[int, int] = {}
    columns: dict[str, list[Any]] = {}
    for row in rows:
        problem = row.get("problem", len(samples))
        calls = row.get("calls", ())
        sample = samples[problem] = samples.get(problem, -1) + 1
        written = sum(call[2] for call in calls)
        full = {
            "problem": problem,
            "sample": sample,
            "kind": row.get("kind", "easy"),
            "question": row.get("question", f"question {problem}"),
            "gold": "1",
            "text": row.get("text", ""),
            "correct": bool(row.get("correct", False)),
            "timed_out": bool(row.get("timed_out", False)),
            "cut_off": bool(row.get("cut_off", False)),
            "teacher_answered": bool(row.get("teacher_answered", False)),
            "output_tokens": row.get("output_tokens", 10),
            "teacher_tokens": row.get("teacher_tokens", written),
            "own_tokens": row.get("own_tokens", 0),
            "prompt_tokens": row.get("prompt_tokens", 5),
            "calls": len(calls),
            "failed_calls": row.get("failed_calls", 0),
        }
        names = ("call_positions", "call_requested", "call_written", "call_prompt_tokens", "call_cached_tokens")
        full |= {name: tuple(call[i] for call in calls) for i, name in enumerate(names)}
        for name, value in full.items():
            columns.setdefault(name, []).append(value)
    return AnswerTable(
        **{
            name: tuple(values) if name.startswith("call_") else np.asarray(values)  # type: ignore[arg-type]
            for name, values in columns.items()
        }
    )


GRADED = graded_group(4)


class ScriptedStream:
    """Finishes the order that `choose` picks of those in decoding; they begin at once, by the policy `version()`."""

    def __init__(self, choose: Callable[[Sequence[int]], int], version: Callable[[], int]) -> None:
        self.choose, self.version = choose, version
        self.orders: list[tuple[int, Problem, int]] = []
        self.unfinished: list[int] = []

    def add(self, problems: Sequence[Problem], first: int) -> int:
        (problem,) = problems
        self.orders.append((first, problem, self.version()))
        self.unfinished.append(len(self.orders) - 1)
        return len(self.orders) - 1

    def next(self) -> GradedOrder:
        number = self.choose(self.unfinished)
        self.unfinished.remove(number)
        place, problem, version = self.orders[number]
        nothing: Any = None
        return GradedOrder([problem], nothing, GRADED, place, version)

    def started_by(self, number: int) -> int | None:
        return self.orders[number][2] if number in self.unfinished else None

    def close(self) -> None:
        self.unfinished = []


@pytest.fixture(scope="session")
def scripted_stream() -> type[ScriptedStream]:
    """Return the stand-in's class; session-wide, so that properties may use it."""
    return ScriptedStream


@pytest.fixture(scope="session")
def table_of() -> MakeTable:
    """Return a function from rows to a table; session-wide, so that properties may use it."""
    return _table


@pytest.fixture(scope="session")
def random_table() -> MakeTable:
    """Return a function that draws a table: kinds by their number of problems, with an accuracy for each."""

    def draw(
        counts: dict[str, int],
        accuracy: float,
        seed: int,
        samples: int = 1,
        tokens: int = 40,
        teacher_part: float = 0.0,
        by_teacher: bool = False,
    ) -> AnswerTable:
        random = np.random.default_rng(seed)
        kinds = [kind for kind, count in counts.items() for _ in range(count)]
        rows: list[Row] = []
        for problem, kind in enumerate(kinds):
            for _ in range(samples):
                output = int(random.integers(tokens // 2, tokens + 1))
                written = int(output * teacher_part)
                calls = ((3, written, written, 9, 4),) if written else ()
                rows.append(
                    {
                        "problem": problem,
                        "kind": kind,
                        "correct": random.random() < accuracy,
                        "output_tokens": output,
                        "calls": calls,
                        **({"teacher_tokens": output} if by_teacher else {}),
                    }
                )
        return _table(rows)

    return draw
