"""The rollout worker: what each policy makes of an order, over scripted engines."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from actors.engines.base import Conversation, Message
from actors.relay.grammar import CommandGrammar
from actors.relay.handoff import ConversationHandoff, IdHandoff, RelayPrompt
from actors.relay.planned_calls import PlannedCall
from actors.rollout import Policy, RolloutOrder, RolloutWorker, StaleWeightsError
from actors.settings import RelayLimits, SamplingSettings
from actors.trajectory import TrajectoryBatch
from tests.scripted import PieceTokenizer, ScriptedEngine

TOKENIZER = PieceTokenizer(["<call>", "</call>", *"0123456789ab<cl/> "])
PROMPTS = (RelayPrompt((90,), (95,)), RelayPrompt((91,), (96,)))
ANSWER = TOKENIZER.encode("a<call>2</call>a")


class Student(ScriptedEngine):
    """Would write `ANSWER`, from the place that its text has come to."""

    version = 3


class Worker(RolloutWorker):
    def __init__(self) -> None:
        self.engine = Student(TOKENIZER, lambda request: ANSWER[len(request.prompt_ids) - 1 :])  # type: ignore[assignment]
        self.finished = 0
        self._teacher = ScriptedEngine(TOKENIZER, lambda _: TOKENIZER.encode("bbbbbbbb"))
        self._tokenizer = self._teacher_tokenizer = TOKENIZER  # type: ignore[assignment]
        self._grammar = CommandGrammar(TOKENIZER)
        self._handoff = IdHandoff()
        self._student_context_tokens = self._teacher_context_tokens = 100


def order(policy: Policy, samples: int = 1, version: int = 3, **options: Any) -> RolloutOrder:
    return RolloutOrder(
        PROMPTS, samples, policy, RelayLimits(), SamplingSettings(), SamplingSettings(), version, **options
    )


def texts(of: RolloutOrder) -> list[str]:
    batch: TrajectoryBatch = asyncio.run(Worker().rollout(of))
    return list(batch.texts)


def test_the_student_relays() -> None:
    assert texts(order(Policy.RELAY)) == ["a<call>2</call>bb"] * 2


def test_the_student_alone_writes_no_command() -> None:
    assert texts(order(Policy.STUDENT)) == ["a2</call>a"] * 2


def test_the_teacher_alone_writes_all() -> None:
    assert texts(order(Policy.TEACHER)) == ["bbbbbbbb"] * 2


def test_a_teacher_that_takes_text_gets_the_conversation_and_writes_the_students_tokens() -> None:
    worker = Worker()
    worker._handoff = ConversationHandoff(TOKENIZER, TOKENIZER)
    question = Conversation((Message("user", "q"),), "<q>")
    prompts = tuple(RelayPrompt((90,), (95,), question) for _ in range(1))
    for policy, text in ((Policy.RELAY, "a<call>2</call>bb"), (Policy.TEACHER, "bbbbbbbb")):
        made: TrajectoryBatch = asyncio.run(worker.rollout(replace(order(policy), prompts=prompts)))
        assert list(made.texts) == [text]
    asked = [request.conversation for request in worker._teacher.requests]  # type: ignore[attr-defined]
    assert asked == [replace(question, answer="a"), question]


def test_calls_at_random_places_follow_each_samples_plan() -> None:
    plans = ((PlannedCall(0, 3),), (), (PlannedCall(1, 1), PlannedCall(2, 1)), (PlannedCall(99, 5),))
    placed = order(Policy.RANDOM_PLACEMENT, samples=2, plans=plans)
    batch: TrajectoryBatch = asyncio.run(Worker().rollout(placed))
    assert [[(call.requested, call.written) for call in row.calls] for row in batch] == [[(3, 3)], [], [(1, 1)] * 2, []]
    assert [row.prompt_ids.tolist() for row in batch] == [[90], [90], [91], [91]]
    assert not any("<call>" in text for text in batch.texts)


@pytest.mark.parametrize(
    ("policy", "plans", "expected"),
    [(Policy.RANDOM_PLACEMENT, 3, 4), (Policy.RANDOM_PLACEMENT, 0, 4), (Policy.RELAY, 4, 0)],
)
def test_plans_that_do_not_fit_the_order_are_refused(policy: Policy, plans: int, expected: int) -> None:
    with pytest.raises(ValueError, match=f"has {plans} plans of calls, but should have {expected}"):
        order(policy, samples=2, plans=((),) * plans)


@pytest.mark.parametrize("policy", [Policy.STUDENT, Policy.RELAY, Policy.RANDOM_PLACEMENT])
def test_other_weights_than_the_orders_are_stale(policy: Policy) -> None:
    plans = ((), ()) if policy is Policy.RANDOM_PLACEMENT else ()
    with pytest.raises(StaleWeightsError, match="policy version 3, but the order is for 4"):
        texts(order(policy, version=4, plans=plans))


def test_finished_answers_and_their_calls_are_counted() -> None:
    worker = Worker()
    asyncio.run(worker.rollout(order(Policy.RELAY)))
    found = [(reading.name, *reading.tags.values(), reading.value) for reading in worker.counts.readings()]
    assert ("relayllm_answers", 2) in found and ("relayllm_answers_in_progress", 0) in found
    assert ("relayllm_output_tokens", "teacher", 4) in found
    assert ("relayllm_calls", "completed", 2) in found and ("relayllm_calls", "failed", 0) in found
    assert [one for one in found if one[0] == "relayllm_call_tokens"] == [("relayllm_call_tokens", 2.0)] * 2
