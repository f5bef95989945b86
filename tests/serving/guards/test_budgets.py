"""Day budgets of requests: worst cases, shares of choices, and what is settled however an answer ends."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.relay.usage import ModelPrices, Prices, Usage
from actors.serving.errors import ApiError
from actors.serving.guards.amounts import Amounts, Limits
from actors.serving.guards.budgets import AnswerBounds, DayBudgets, ledger_path
from actors.serving.guards.keys import Caller
from actors.serving.guards.ledger import Ledger, LedgerError, Reservation
from actors.serving.guards.settings import GuardSettings

PRICES = Prices(student=ModelPrices(input=1, output=2), teacher=ModelPrices(input=10, cached_input=1, output=40))
CALLER = Caller("a", False, Limits(teacher_tokens=100, cost_micro=10_000))
BOUNDS = AnswerBounds(prompt_tokens=10, max_new_tokens=20, max_calls=3)


def budgets(folder: Path) -> tuple[DayBudgets, Ledger]:
    ledger = Ledger(folder / "ledger", 600)
    return DayBudgets(ledger, PRICES), ledger


def test_a_worst_case_has_all_turns_read_everything_anew() -> None:
    worst = BOUNDS.worst(PRICES)
    assert worst == Amounts(requests=1, teacher_tokens=20, cost_micro=8 * 30 * 1 + 20 * 2 + 3 * 30 * 10 + 20 * 40)


def test_the_student_alone_needs_no_teacher_tokens_and_the_teacher_alone_no_student() -> None:
    alone = AnswerBounds(prompt_tokens=10, max_new_tokens=20, max_calls=0)
    assert alone.worst(PRICES) == Amounts(requests=1, cost_micro=5 * 30 + 20 * 2)
    teacher = AnswerBounds(prompt_tokens=10, max_new_tokens=20, max_calls=0, by_teacher=True)
    assert teacher.worst(PRICES) == Amounts(requests=1, teacher_tokens=20, cost_micro=30 * 10 + 20 * 40)


def test_a_requests_own_budget_bounds_its_worst_case() -> None:
    own = AnswerBounds(
        prompt_tokens=10, max_new_tokens=20, max_calls=3, choices=2, max_teacher_tokens=5, max_cost=0.000_1
    )
    assert own.worst(PRICES) == Amounts(requests=1, teacher_tokens=10, cost_micro=200)


@given(
    turns=st.lists(st.tuples(st.integers(0, 8), st.integers(0, 8)), max_size=3),
    prompt=st.integers(1, 50),
)
def test_no_answer_within_the_limits_costs_more_than_its_worst_case(turns: list[tuple[int, int]], prompt: int) -> None:
    usage, context, written_by_teacher = Usage.none(), prompt, 0
    for student, teacher in turns:
        usage.student.add_turn(context, 0, student)
        usage.teacher.add_turn(context + student, 0, teacher)
        context += student + teacher
        written_by_teacher += teacher
    usage.student.add_turn(context, 0, 8)
    bounds = AnswerBounds(prompt_tokens=prompt, max_new_tokens=context - prompt + 8, max_calls=len(turns))
    worst = bounds.worst(PRICES)
    assert usage.cost(PRICES) <= worst.cost + 1e-9 and written_by_teacher <= worst.teacher_tokens


async def test_the_days_rest_becomes_the_requests_budget_shared_by_its_choices(tmp_path: Path) -> None:
    day, ledger = budgets(tmp_path)
    ledger.settle(
        ledger.reserve("a", CALLER.limits, Amounts(teacher_tokens=91)), Amounts(teacher_tokens=91, cost_micro=9_000)
    )
    bounds = AnswerBounds(prompt_tokens=10, max_new_tokens=20, max_calls=3, choices=2, max_cost=0.9)
    async with day.allowed(CALLER, bounds) as allowance:
        assert (allowance.teacher_tokens, allowance.cost) == (9, 0.001)
        each = allowance.per_choice(bounds)
        assert (each.max_teacher_tokens, each.max_cost) == (4, 0.0005)
        allowance.note(8, 0.000_7)
    assert ledger.used("a") == Amounts(requests=1, teacher_tokens=99, cost_micro=9_700)


async def test_a_key_without_budget_is_counted_and_not_limited(tmp_path: Path) -> None:
    day, ledger = budgets(tmp_path)
    async with day.allowed(Caller("free", False, Limits()), BOUNDS) as allowance:
        assert (allowance.teacher_tokens, allowance.cost) == (None, None)
        assert allowance.per_choice(BOUNDS) == BOUNDS
        allowance.note(5, 0.000_001)
    assert ledger.used("free") == Amounts(requests=1, teacher_tokens=5, cost_micro=1)


async def test_an_error_before_a_note_costs_nothing_and_one_after_it_what_was_noted(tmp_path: Path) -> None:
    day, ledger = budgets(tmp_path)

    async def failing(*notes: int) -> None:
        async with day.allowed(CALLER, BOUNDS) as allowance:
            for note in notes:
                allowance.note(note, 0.0)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        await failing()
    assert ledger.used("a") == Amounts()
    with pytest.raises(RuntimeError):
        await failing(2, 3)
    assert ledger.used("a") == Amounts(requests=1, teacher_tokens=3)
    assert ledger.held("a") == Amounts()


async def test_a_cancelled_answer_is_settled_although_its_task_is_gone(tmp_path: Path) -> None:
    day, ledger = budgets(tmp_path)
    begun = asyncio.Event()

    async def answer() -> None:
        async with day.allowed(CALLER, BOUNDS):
            begun.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(answer())
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await day.settled()
    assert ledger.used("a").teacher_tokens == 20 and ledger.held("a") == Amounts()


async def test_a_request_cancelled_while_it_reserves_leaves_nothing_set_aside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    day, ledger = budgets(tmp_path)
    begun, go = threading.Event(), threading.Event()
    plain = ledger.reserve

    def slow(key: str, limits: Limits, wanted: Amounts) -> Reservation:
        begun.set()
        go.wait(20)
        return plain(key, limits, wanted)

    monkeypatch.setattr(ledger, "reserve", slow)

    async def answer() -> None:
        async with day.allowed(CALLER, BOUNDS):
            raise AssertionError("it was cancelled before")

    task = asyncio.create_task(answer())
    await asyncio.to_thread(begun.wait)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    go.set()
    await day.settled()
    assert ledger.held("a") == ledger.used("a") == Amounts()


async def test_concurrent_requests_never_overdraw(tmp_path: Path) -> None:
    day, ledger = budgets(tmp_path)
    refusals: list[ApiError] = []

    async def answer() -> None:
        try:
            async with day.allowed(CALLER, BOUNDS) as allowance:
                await asyncio.sleep(0)
                assert allowance.teacher_tokens is not None
                allowance.note(allowance.teacher_tokens, 0.0)
        except ApiError as refusal:
            refusals.append(refusal)

    await asyncio.gather(*(answer() for _ in range(30)))
    assert ledger.used("a").teacher_tokens <= 100 and ledger.held("a") == Amounts()
    assert refusals and all(refusal.status == 429 for refusal in refusals)


async def test_what_others_hold_is_not_called_spent(tmp_path: Path) -> None:
    day, _ = budgets(tmp_path)
    caller = Caller("a", False, Limits(teacher_tokens=20))
    async with day.allowed(caller, BOUNDS):
        with pytest.raises(ApiError, match="requests under way hold the rest") as caught:
            async with day.allowed(caller, BOUNDS):
                pass
    assert caught.value.code == "budget_reserved" and (caught.value.retry_after_s or 0) < 60


async def test_a_broken_ledger_refuses_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    day, ledger = budgets(tmp_path)

    def broken(*_: object) -> None:
        raise LedgerError("disk full")

    monkeypatch.setattr(ledger, "reserve", broken)
    with pytest.raises(ApiError, match="cannot count") as caught:
        async with day.allowed(CALLER, BOUNDS):
            pass
    assert caught.value.status == 503


def test_the_ledger_lies_beside_the_run_unless_the_settings_say_where(tmp_path: Path) -> None:
    assert ledger_path(GuardSettings(), tmp_path) == tmp_path / "ledger.sqlite"
    assert ledger_path(GuardSettings(ledger=tmp_path / "other"), Path("run")) == tmp_path / "other"
