"""A recorded teacher: what is answered without a call, what is not, and that several processes may record."""

from __future__ import annotations

import asyncio
import multiprocessing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from actors.engines.base import ContextIds, Conversation, EngineError, GenerationRequest, Message, StopReason
from actors.engines.recorded import FILE, RecordedEngine, RecordingError
from actors.settings import SamplingSettings
from tests.scripted import PieceTokenizer, ScriptedEngine

TOKENIZER = PieceTokenizer([*"abcdefgh", "<call>"])
GREEDY, DRAWN = SamplingSettings(temperature=0.0), SamplingSettings(temperature=1.0)
REQUEST = GenerationRequest([1, 2, 3], 4, GREEDY)


def teacher(*outputs: list[int] | Exception) -> ScriptedEngine:
    return ScriptedEngine(TOKENIZER, list(outputs) or (lambda request: [1, 2, 3]), cached=lambda _: 2)


def ask(engine: RecordedEngine, *requests: GenerationRequest) -> list[list[int]]:
    async def scenario() -> list[list[int]]:
        return [(await engine.generate(request)).token_ids.tolist() for request in requests]

    return asyncio.run(scenario())


def test_a_second_run_makes_no_call(tmp_path: Path) -> None:
    requests = [REQUEST, replace(REQUEST, prompt_ids=[4]), replace(REQUEST, sampling=DRAWN, seed=7)]
    first = RecordedEngine(teacher([1, 2], [3], [4, 5, 6, 7, 8]), tmp_path, "big")
    written = ask(first, *requests)
    first.close()
    nobody = teacher(EngineError("the teacher was called"))
    second = RecordedEngine(nobody, tmp_path, "big")
    assert ask(second, *requests) == written == [[1, 2, 0], [3, 0], [4, 5, 6, 7]]
    assert (nobody.requests, second.hits, second.calls) == ([], 3, 0)


def test_a_recorded_turn_is_as_it_was(tmp_path: Path) -> None:
    engine = RecordedEngine(teacher([1, 2]), tmp_path, "big")

    async def twice() -> list[Any]:
        told: list[list[int]] = []
        turns = [await engine.generate(REQUEST), await engine.generate(REQUEST, lambda ids, _: told.append(ids))]
        return [*turns, told]

    first, again, told = asyncio.run(twice())
    assert (again.stop, again.prompt_tokens, again.cached_tokens) == (StopReason.END_OF_TEXT, 3, 2)
    assert again.token_ids.tolist() == first.token_ids.tolist() == [1, 2, 0]
    assert told == [[1, 2, 0]]
    assert len(again.logprobs) == len(again.versions) == 3


SPOKEN = GenerationRequest(ContextIds([1, 2, 3], Conversation((Message("user", "q"),), "r", "a")), 4, GREEDY)


@pytest.mark.parametrize(
    "other",
    [
        replace(REQUEST, prompt_ids=[1, 2]),
        replace(REQUEST, max_tokens=5),
        replace(REQUEST, sampling=DRAWN, seed=7),
        replace(REQUEST, sampling=DRAWN, seed=8),
        replace(REQUEST, sampling=SamplingSettings(temperature=0.0, top_p=0.5)),
        replace(REQUEST, excluded=(5,)),
        replace(REQUEST, stop_text="b"),
        SPOKEN,
    ],
)
def test_what_an_answer_depends_on_is_in_its_key(tmp_path: Path, other: GenerationRequest) -> None:
    inner = teacher()
    ask(RecordedEngine(inner, tmp_path, "big"), REQUEST, other, REQUEST, other)
    assert len(inner.requests) == 2


def test_another_model_has_answers_of_its_own(tmp_path: Path) -> None:
    ask(RecordedEngine(teacher([1]), tmp_path, "big"), REQUEST)
    assert ask(RecordedEngine(teacher([2]), tmp_path, "bigger"), REQUEST) == [[2, 0]]


def test_the_seed_of_a_greedy_call_does_not_matter(tmp_path: Path) -> None:
    inner = teacher()
    ask(RecordedEngine(inner, tmp_path, "big"), REQUEST, replace(REQUEST, seed=3))
    assert len(inner.requests) == 1


def test_draws_without_a_seed_are_made_each_time(tmp_path: Path) -> None:
    engine = RecordedEngine(teacher([1], [2], [3]), tmp_path, "big")
    assert ask(engine, *[replace(REQUEST, sampling=DRAWN)] * 3) == [[1, 0], [2, 0], [3, 0]]
    assert (engine.hits, engine.calls) == (0, 3)


def test_failures_are_not_recorded(tmp_path: Path) -> None:
    engine = RecordedEngine(teacher(EngineError("busy"), [1]), tmp_path, "big")
    with pytest.raises(EngineError, match="busy"):
        ask(engine, REQUEST)
    assert ask(engine, REQUEST) == [[1, 0]]


def test_an_answer_that_another_process_recorded_meanwhile_counts(tmp_path: Path) -> None:
    other = RecordedEngine(teacher([5]), tmp_path, "big")

    async def meanwhile(request: GenerationRequest) -> None:
        await other.generate(request)

    engine = RecordedEngine(ScriptedEngine(TOKENIZER, [[6]], before=meanwhile), tmp_path, "big")
    assert ask(engine, REQUEST) == [[5, 0]]


def record_many(folder: Path, number: int) -> None:
    engine = RecordedEngine(ScriptedEngine(TOKENIZER, lambda request: [1 + request.prompt_ids[0] % 8]), folder, "big")

    async def scenario() -> None:
        requests = [replace(REQUEST, prompt_ids=[prompt]) for prompt in range(number, number + 100)]
        await asyncio.gather(*map(engine.generate, requests))

    asyncio.run(scenario())
    engine.close()


def test_several_processes_record_at_the_same_time(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=record_many, args=(tmp_path, 50 * number)) for number in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0, 0]
    engine = RecordedEngine(teacher(EngineError("the teacher was called")), tmp_path, "big")
    answers = ask(engine, *(replace(REQUEST, prompt_ids=[prompt]) for prompt in range(200)))
    assert answers == [[1 + prompt % 8, 0] for prompt in range(200)]


def test_a_folder_that_cannot_be_used_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RecordingError, match=r"teacher\.cache: .*choose another folder"):
        RecordedEngine(teacher(), tmp_path / "file", "big")
    (tmp_path / FILE).write_text("no database, but long enough to be looked at as one" * 50)
    with pytest.raises(RecordingError, match="is not a database"):
        RecordedEngine(teacher(), tmp_path, "big")
