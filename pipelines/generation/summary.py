"""What a file of answers amounts to: accuracy, call ratio, cost and speed."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from actors.grading import GradingPool
from pipelines.generation.answers import Answer
from pipelines.generation.rows import Row
from pipelines.wording import money, percent


def verdicts(rows: Sequence[Row], answers: Mapping[int, Answer]) -> dict[int, bool]:
    """Return for each answered row with a right answer, by its line, whether its boxed answer equals that."""
    graded = [
        row for row in rows if row.gold is not None and row.line in answers and answers[row.line]["error"] is None
    ]
    if not graded:
        return {}
    pool = GradingPool()
    try:
        found = asyncio.run(pool.grade([(answers[row.line]["answer"], row.gold or "") for row in graded]))
    finally:
        pool.close()
    return {row.line: verdict.correct for row, verdict in zip(graded, found, strict=True)}


def with_verdict(answer: Answer, rows: Mapping[int, Row], correct: Mapping[int, bool]) -> Answer:
    """Return the answer with the right one and whether it is that, if its row has one."""
    row = rows.get(answer["line"])
    if row is None or row.gold is None:
        return answer
    return {**answer, "gold": row.gold, "correct": correct.get(answer["line"])}


def sums(answers: Iterable[Answer], key: str) -> float:
    """Return the sum of one number over the choices' summaries."""
    return sum((answer["relay"] or {}).get(key) or 0 for answer in answers)


def lines(rows: int, answers: Sequence[Answer], tokens_per_s: float | None, currency: str) -> list[str]:
    """Return the summary. `tokens_per_s` is None if nothing was asked now."""
    good = [answer for answer in answers if answer["error"] is None]
    failed, missing = len(answers) - len(good), rows - len(answers)
    parts = [f"{len(good):,} of {rows:,} rows are answered"]
    parts += [f"{failed:,} failed"] if failed else []
    parts += [f"{missing:,} were not asked"] if missing else []
    found = [", ".join(parts)]
    graded = [answer["correct"] for answer in good if answer.get("correct") is not None]
    numbers = [f"accuracy {percent(sum(graded) / len(graded))} of {len(graded):,}"] if graded else []
    if output := sums(good, "output_tokens"):
        calls = sum(len((answer["relay"] or {}).get("calls") or ()) for answer in good)
        numbers.append(f"call ratio {percent(sums(good, 'teacher_tokens') / output)}")
        numbers.append(f"{calls / len(good):.2f} calls an answer")
        numbers.append(f"{output / len(good):.1f} tokens an answer")
    if cut := sum(answer["finish_reason"] == "length" for answer in good):
        numbers.append(f"{percent(cut / len(good))} cut off")
    found += [", ".join(numbers)] if numbers else []
    more = []
    if cost := sums(good, "cost"):
        alone = sums(good, "teacher_alone_cost")
        more.append(f"cost {money(cost, currency)} (teacher alone {money(alone, currency)})")
    more += [f"{tokens_per_s:,.0f} tokens/s"] if tokens_per_s is not None else []
    found += [", ".join(more)] if more else []
    return [*found, *_notes(good)]


def _notes(good: Sequence[Answer]) -> list[str]:
    relays: list[dict[str, Any]] = [answer["relay"] or {} for answer in good]
    notes = []
    if away := sum(relay.get("teacher") == "away" for relay in relays):
        notes.append(f"the teacher was away for {away:,} answers, which the student wrote alone")
    versions = sorted({relay["policy_version"] for relay in relays if relay.get("policy_version") is not None})
    if len(versions) > 1:
        notes.append(f"the answers come from several policy versions: {', '.join(map(str, versions))}")
    return notes
