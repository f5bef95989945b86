"""One run of `relayllm generate`: from a file of questions to a file of answers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from pipelines.client.connection import Connection, headers_of, timeouts
from pipelines.client.errors import ServerError
from pipelines.client.wire import Kind
from pipelines.generation.answers import Answer, AnswerFile, Origin, opened
from pipelines.generation.asking import Sleep, ask_all
from pipelines.generation.rows import InputError, Questions, Row
from pipelines.generation.summary import lines, sums, verdicts, with_verdict
from pipelines.terminal.progress import Progress


@dataclass(frozen=True, slots=True)
class Batch:
    """What is asked, and how."""

    questions: Questions
    output: Path
    kind: Kind
    options: Mapping[str, Any]
    """what shapes every answer; a file of answers has those of one set alone"""
    concurrency: int = 32
    attempts: int = 6
    silence_s: float = 600.0
    overwrite: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """How it ended."""

    summary: tuple[str, ...]
    failed: int
    """rows without an answer"""


def generate(batch: Batch, address: str, api_key: str | None = None, sleep: Sleep = asyncio.sleep) -> Outcome:
    """Ask what has no answer yet. Raises `InputError`, and `ServerError` if the server refuses all; answers so far are kept."""
    with Connection(address, api_key) as connection:
        models = connection.models()
    if batch.kind not in models:
        raise InputError(f"the server at {address} serves no {batch.kind} alone: it has {', '.join(models)}")
    model = models[batch.kind].id
    rows = batch.questions.rows
    with opened(batch.output, Origin(batch.questions.digest, model, batch.options), batch.overwrite) as file:
        left = [row for row in rows if row.line not in file.answers]
        speed = _ask(batch, left, model, address, api_key, file, sleep) if left else None
        correct = verdicts(rows, file.answers)
        by_line = {row.line: row for row in rows}
        file.put_in_order(lambda answer: with_verdict(answer, by_line, correct))
        answers = list(file.answers.values())
    failed = sum(answer["error"] is not None for answer in answers)
    currency = next((one for one in map(_currency, answers) if one), "")
    return Outcome(tuple(lines(len(rows), answers, speed, currency)), failed)


def _ask(
    batch: Batch,
    left: Sequence[Row],
    model: str,
    address: str,
    api_key: str | None,
    file: AnswerFile,
    sleep: Sleep,
) -> float:
    """Ask the rows that are left, and return the output tokens per second."""
    total = len(batch.questions.rows)
    began = time.monotonic()
    output = teacher = 0.0
    failed = 0

    with Progress(total, "answers", done=total - len(left)) as progress:

        def done(answer: Answer) -> None:
            nonlocal output, teacher, failed
            file.add(answer)
            output += sums([answer], "output_tokens")
            teacher += sums([answer], "teacher_tokens")
            failed += answer["error"] is not None
            values = {"call ratio": teacher / output if output else 0.0}
            speed = f"{output / max(time.monotonic() - began, 1e-9):.0f}"
            progress.update(1, **values, **{"tokens/s": speed}, **({"failed": failed} if failed else {}))

        async def ask() -> None:
            limits = httpx.Limits(max_connections=batch.concurrency)
            async with httpx.AsyncClient(
                base_url=address, headers=headers_of(api_key), timeout=timeouts(batch.silence_s), limits=limits
            ) as client:
                await ask_all(
                    client,
                    left,
                    model,
                    done,
                    concurrency=min(batch.concurrency, len(left)),
                    attempts=batch.attempts,
                    sleep=sleep,
                )

        try:
            asyncio.run(ask())
        except ServerError as error:
            kept = sum(answer["error"] is None for answer in file.answers.values())
            raise ServerError(
                f"{error}. {kept:,} of {total:,} answers are in {batch.output}; the same command asks the rest",
                status=error.status,
                code=error.code,
            ) from None
    return output / max(time.monotonic() - began, 1e-9)


def _currency(answer: Answer) -> str:
    return str((answer["relay"] or {}).get("currency") or "")
