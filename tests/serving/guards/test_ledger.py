"""The ledger: no day's budget is overdrawn, nothing that was used is lost, whoever asks at the same time."""

from __future__ import annotations

import multiprocessing
import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from fractions import Fraction
from pathlib import Path
from random import Random

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from actors.serving.guards.amounts import Amounts, Limits, budget_in_micro, cost_in_micro
from actors.serving.guards.ledger import BudgetSpentError, Ledger, LedgerError, Reservation, day_of, seconds_to_midnight

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC).timestamp()
LIMITS = Limits(requests=40, teacher_tokens=1000, cost_micro=5000)
NAMES = ("requests", "teacher_tokens", "cost_micro")


def amounts(tokens: int = 0, cost: int = 0, requests: int = 1) -> Amounts:
    return Amounts(requests=requests, teacher_tokens=tokens, cost_micro=cost)


class Clock:
    def __init__(self, now: float = NOON) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def test_a_request_gets_what_it_wants_or_the_rest(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger", 60, Clock())
    first = ledger.reserve("a", LIMITS, amounts(700, 100))
    assert first.amounts == amounts(700, 100)
    assert ledger.reserve("a", LIMITS, amounts(700, 100)).amounts == amounts(300, 100)
    with pytest.raises(BudgetSpentError) as caught:
        ledger.reserve("a", LIMITS, amounts(1))
    assert not caught.value.spent  # held, and not used
    assert ledger.settle(first, amounts(650, 90))
    assert ledger.reserve("a", LIMITS, amounts(700)).amounts == amounts(50)
    assert ledger.used("a") == amounts(650, 90)
    assert ledger.used("b") == Amounts()


def test_a_spent_budget_says_which_amount_and_until_when(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger", 60, Clock())
    ledger.settle(ledger.reserve("a", LIMITS, amounts(1000)), amounts(1000))
    with pytest.raises(BudgetSpentError) as caught:
        ledger.reserve("a", LIMITS, amounts(1))
    found = caught.value
    assert (found.amount, found.limit, found.spent, found.until_midnight_s) == ("teacher_tokens", 1000, True, 12 * 3600)
    ledger.reserve("a", LIMITS, amounts(0, 10))  # a request that needs no teacher


def test_without_a_limit_use_is_counted(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger", 60, Clock())
    ledger.settle(ledger.reserve("a", Limits(), amounts(10**9, 10**9)), amounts(7, 8))
    assert ledger.used("a") == amounts(7, 8)


def test_a_refusal_sets_nothing_aside(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger", 60, Clock())
    with pytest.raises(BudgetSpentError):
        ledger.reserve("a", Limits(cost_micro=0), amounts(5, 5))
    assert ledger.held("a") == Amounts()


def test_settling_twice_counts_once(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger", 60, Clock())
    reservation = ledger.reserve("a", LIMITS, amounts(5))
    assert ledger.settle(reservation, amounts(4))
    assert not ledger.settle(reservation, amounts(4))
    assert not ledger.release(reservation)
    assert ledger.used("a") == amounts(4)


def test_what_a_crash_left_expires_and_a_late_answer_still_counts(tmp_path: Path) -> None:
    clock = Clock()
    ledger = Ledger(tmp_path / "ledger", 60, clock)
    left = ledger.reserve("a", LIMITS, amounts(1000))
    clock.now += 59
    with pytest.raises(BudgetSpentError):
        ledger.reserve("a", LIMITS, amounts(1))
    clock.now += 2
    assert ledger.reserve("a", LIMITS, amounts(600)).amounts == amounts(600)
    assert ledger.settle(left, amounts(10))
    assert ledger.used("a") == amounts(10)


def test_a_day_ends_at_midnight_utc_and_an_answer_counts_for_the_day_it_began(tmp_path: Path) -> None:
    clock = Clock(datetime(2026, 1, 31, 23, 59, 59, tzinfo=UTC).timestamp())
    ledger = Ledger(tmp_path / "ledger", 60, clock)
    late = ledger.reserve("a", LIMITS, amounts(1000))
    clock.now += 2
    assert day_of(clock.now) == "2026-02-01" and seconds_to_midnight(clock.now) == 86_399
    assert ledger.reserve("a", LIMITS, amounts(1000)).amounts == amounts(1000)
    ledger.settle(late, amounts(900))
    assert ledger.used("a", "2026-01-31") == amounts(900)
    assert ledger.used("a") == Amounts()


def test_it_is_kept_over_a_restart(tmp_path: Path) -> None:
    first = Ledger(tmp_path / "folder" / "ledger", 60, Clock())
    first.settle(first.reserve("a", LIMITS, amounts(400, 40)), amounts(400, 40))
    held = first.reserve("a", LIMITS, amounts(500))
    first.close()
    second = Ledger(tmp_path / "folder" / "ledger", 60, Clock())
    assert second.used("a") == amounts(400, 40)
    assert second.reserve("a", LIMITS, amounts(500)).amounts == amounts(100)
    assert second.settle(held, amounts(1))


def test_a_file_that_is_no_ledger_is_refused_and_unchanged(tmp_path: Path) -> None:
    text = tmp_path / "notes.txt"
    text.write_text("these are my notes, and no database" * 40)
    with pytest.raises(LedgerError, match=r"notes\.txt: cannot be used as a ledger"):
        Ledger(text, 60)
    assert text.read_text().startswith("these are my notes")
    newer = tmp_path / "newer"
    sqlite3.connect(newer).execute("PRAGMA user_version = 9")
    with pytest.raises(LedgerError, match="of version 1, and is of version 9"):
        Ledger(newer, 60)
    with pytest.raises(LedgerError, match="cannot be used as a ledger"):
        Ledger(text / "below" / "ledger", 60)


@given(st.floats(0, 1e6, allow_nan=False))
@example(524288.93359375)
def test_costs_round_up_and_budgets_down(value: float) -> None:
    exact, dust = Fraction(value) * 10**6, Fraction(1, 10**5) + Fraction(value) / 10**9
    assert -dust <= cost_in_micro(value) - exact < 1
    assert -1 < budget_in_micro(value) - exact <= dust
    assert cost_in_micro(budget_in_micro(value) / 1e6) == budget_in_micro(value)


def spend(ledger: Ledger, random: Random, rounds: int) -> tuple[Amounts, int]:
    """Reserve and settle at random; return what was used in all, and how often it was refused."""
    total, refused = Amounts(), 0
    for _ in range(rounds):
        try:
            reservation = ledger.reserve("a", LIMITS, amounts(random.randrange(0, 300), random.randrange(0, 900)))
        except BudgetSpentError:
            refused += 1
            continue
        most = reservation.amounts
        used = amounts(random.randint(0, most.teacher_tokens), random.randint(0, most.cost_micro))
        if random.random() < 0.2:
            ledger.release(reservation)
        else:
            assert ledger.settle(reservation, used)
            total += used
    return total, refused


def within(used: Amounts, limits: Limits = LIMITS) -> bool:
    return all(getattr(used, name) <= getattr(limits, name) for name in NAMES)


@pytest.mark.parametrize("seed", range(3))
def test_threads_together_never_overdraw_and_lose_nothing(tmp_path: Path, seed: int) -> None:
    ledger = Ledger(tmp_path / "ledger", 600)
    watched: list[bool] = []
    stop = threading.Event()

    def watch() -> None:
        while not stop.is_set():
            watched.append(within(ledger.used("a")))

    with ThreadPoolExecutor(7) as threads:
        watching = threads.submit(watch)
        ends = [threads.submit(spend, ledger, Random(10 * seed + i), 20) for i in range(6)]
        totals = [end.result() for end in ends]
        stop.set()
        watching.result()
    total = sum((used for used, _ in totals), Amounts())
    assert ledger.used("a") == total and within(total) and all(watched)
    assert ledger.held("a") == Amounts()
    assert sum(refused for _, refused in totals) > 0


def _in_a_process(path: str, seed: int, results: multiprocessing.Queue[tuple[Amounts, int]]) -> None:
    results.put(spend(Ledger(Path(path), 600), Random(seed), 30))


def _reserve_and_die(path: str) -> None:
    import os

    Ledger(Path(path), 600).reserve("a", LIMITS, amounts(100))
    os._exit(1)


def test_processes_together_never_overdraw_and_lose_nothing(tmp_path: Path) -> None:
    path, context = str(tmp_path / "ledger"), multiprocessing.get_context("spawn")
    results: multiprocessing.Queue[tuple[Amounts, int]] = context.Queue()
    processes = [context.Process(target=_in_a_process, args=(path, seed, results)) for seed in range(4)]
    for process in processes:  # all of them make the file
        process.start()
    totals = [results.get(timeout=120) for _ in processes]
    for process in processes:
        process.join()
    ledger = Ledger(Path(path), 600)
    total = sum((used for used, _ in totals), Amounts())
    assert ledger.used("a") == total and within(total)
    assert ledger.held("a") == Amounts()


def test_a_process_that_dies_leaves_its_reservation_and_no_lock(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    process = context.Process(target=_reserve_and_die, args=(str(tmp_path / "ledger"),))
    process.start()
    process.join()
    ledger = Ledger(tmp_path / "ledger", 600)
    assert process.exitcode == 1 and ledger.held("a") == amounts(100)
    assert ledger.reserve("a", LIMITS, amounts(1000)).amounts == amounts(900)


def test_a_forked_child_does_not_use_its_parents_connection(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger", 600)
    ledger.reserve("a", LIMITS, amounts(10))
    context = multiprocessing.get_context("fork")
    process = context.Process(target=lambda: ledger.reserve("a", LIMITS, amounts(20)))
    process.start()
    process.join()
    assert process.exitcode == 0 and ledger.held("a") == amounts(30, requests=2)


class Budgets(RuleBasedStateMachine):
    """Any order of requests, settlements, crashes, midnights and restarts."""

    @initialize(limit=st.integers(0, 60))
    def begin(self, limit: int) -> None:
        import tempfile

        self.folder = tempfile.TemporaryDirectory()
        self.clock, self.limits = Clock(), Limits(teacher_tokens=limit, requests=6)
        self.open: list[Reservation] = []
        self.spent: dict[str, Amounts] = {}
        self.reopen()

    @rule()
    def reopen(self) -> None:
        self.ledger = Ledger(Path(self.folder.name) / "ledger", 100, self.clock)

    @rule(tokens=st.integers(0, 40))
    def reserve(self, tokens: int) -> None:
        try:
            self.open.append(self.ledger.reserve("a", self.limits, amounts(tokens)))
        except BudgetSpentError as refusal:
            day = day_of(self.clock.now)
            live = [one.amounts for one in self.open if one.day == day]
            together = sum(live, self.spent.get(day, Amounts()))
            assert getattr(together, refusal.amount) >= refusal.limit  # noqa: PT017

    @rule(index=st.integers(0, 9), share=st.floats(0, 1))
    def settle(self, index: int, share: float) -> None:
        if index < len(self.open):
            one = self.open.pop(index)
            used = amounts(int(one.amounts.teacher_tokens * share))
            assert self.ledger.settle(one, used)
            self.spent[one.day] = self.spent.get(one.day, Amounts()) + used

    @rule()
    def crash(self) -> None:
        self.open.clear()
        self.clock.now += 101
        self.reopen()

    @rule()
    def next_day(self) -> None:
        self.clock.now += 86_400 - 50
        self.open.clear()  # they are past their time

    @invariant()
    def nothing_is_lost_and_no_day_is_overdrawn(self) -> None:
        for day, spent in getattr(self, "spent", {}).items():
            assert self.ledger.used("a", day) == spent
            assert spent.teacher_tokens <= (self.limits.teacher_tokens or 0) and spent.requests <= 6

    def teardown(self) -> None:
        if hasattr(self, "folder"):
            self.ledger.close()
            self.folder.cleanup()


TestBudgets = Budgets.TestCase
TestBudgets.settings = settings(max_examples=15, stateful_step_count=20)
