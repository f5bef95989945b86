"""Budgets of one answer hold to the token."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.relay.budget import Budget
from actors.relay.grammar import CommandGrammar, command_text
from actors.relay.handoff import IdHandoff, RelayPrompt
from actors.relay.loop import relay
from actors.relay.sequence import RelaySequence, RelaySetup
from actors.relay.usage import ModelPrices, ModelUsage, Prices, Usage
from actors.settings import RelayLimits, SamplingSettings
from actors.trajectory import FinishReason, Source
from tests.scripted import PieceTokenizer, ScriptedEngine

TOKENIZER = PieceTokenizer(["<", "call", ">", "</", *"0123456789", "a", "t", " ", "q"])
PRICES = Prices(
    student=ModelPrices(input=1.0, cached_input=0.5, output=2.0),
    teacher=ModelPrices(input=10.0, cached_input=5.0, output=20.0),
)


def sequence(budget: Budget, max_new_tokens: int = 60, max_calls: int = 5) -> RelaySequence:
    setup = RelaySetup(
        grammar=CommandGrammar(TOKENIZER),
        handoff=IdHandoff(),
        limits=RelayLimits(max_new_tokens=max_new_tokens, max_calls=max_calls),
        student_sampling=SamplingSettings(),
        teacher_sampling=SamplingSettings(),
        student_context_tokens=1000,
        teacher_context_tokens=1000,
    )
    ids = tuple(TOKENIZER.encode("qqqq"))
    return RelaySequence(RelayPrompt(ids, ids), setup, budget=budget)


def decoded(budget: Budget, student: list[str], **limits: int) -> RelaySequence:
    """Decode with a student that writes these texts in turn, then `a` for ever, and a teacher that never ends by itself."""
    turns = iter(student)
    one = sequence(budget, **limits)
    long = TOKENIZER.encode("a" * 100)
    writer = ScriptedEngine(TOKENIZER, lambda _: TOKENIZER.encode(next(turns, "")) or long)
    teacher = ScriptedEngine(TOKENIZER, lambda _: TOKENIZER.encode("t" * 100))
    asyncio.run(relay(one, writer, teacher))
    return one


def test_teacher_tokens_are_limited_over_all_calls() -> None:
    call = "a" + command_text(4)
    one = decoded(Budget(teacher_tokens=6), [call, call, call])

    assert [call.written for call in one.calls] == [4, 2]
    assert "<call" not in one.trajectory().text.split("tt")[-1]


def test_a_call_without_a_token_left_lets_the_student_go_on() -> None:
    one = decoded(Budget(call_ratio=0.05), ["a" + command_text(4), "aa"], max_new_tokens=20)

    assert [call.written for call in one.calls] == [0]
    assert one.trajectory().finish is FinishReason.STUDENT_END


@given(
    ratio=st.floats(0.0, 1.0),
    texts=st.lists(st.tuples(st.integers(0, 9), st.integers(1, 30)), max_size=5),
    longest=st.integers(1, 80),
)
def test_the_call_ratio_holds_at_every_moment(ratio: float, texts: list[tuple[int, int]], longest: int) -> None:
    one = decoded(
        Budget(call_ratio=ratio), ["a" * count + command_text(n) for count, n in texts], max_new_tokens=longest
    )

    sources = one.trajectory().sources
    written = 0
    for position, source in enumerate(sources, start=1):
        written += int(source == Source.TEACHER)
        at_a_seam = position == len(sources) or sources[position] != source
        assert not at_a_seam or written <= ratio * position + 1e-6


@given(
    cost=st.floats(0.0, 0.002),
    texts=st.lists(st.tuples(st.integers(0, 9), st.integers(1, 30)), max_size=5),
)
def test_the_cost_is_never_above_its_budget(cost: float, texts: list[tuple[int, int]]) -> None:
    one = decoded(Budget(cost=cost, prices=PRICES), ["a" * count + command_text(n) for count, n in texts])

    assert one.usage.cost(PRICES) <= cost + 1e-12


def test_a_ratio_in_decimal_allows_what_it_says() -> None:
    budget = Budget(call_ratio=0.1)

    assert budget.call_tokens(Usage.none(), teacher_tokens=0, output_tokens=9, context_tokens=0) == 1


def test_cached_tokens_are_charged_at_their_own_price() -> None:
    usage = ModelUsage(turns=1, prompt_tokens=100, cached_tokens=60, written_tokens=10)

    assert usage.cost(PRICES.teacher) == pytest.approx((40 * 10 + 60 * 5 + 10 * 20) / 1e6)


def test_failed_calls_are_charged_for_what_arrived() -> None:
    one = sequence(Budget())
    asyncio.run(relay(one, ScriptedEngine(TOKENIZER, [TOKENIZER.encode("a" + command_text(4)), []]), _Failing()))

    assert one.usage.teacher.prompt_tokens == 5
    assert len(one.failures) == 1


class _Failing(ScriptedEngine):
    def __init__(self) -> None:
        from actors.engines.base import EngineError

        super().__init__(TOKENIZER, [EngineError("gone")])
