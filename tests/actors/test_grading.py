"""Hostile answers cost their own verdict and nothing else."""

import asyncio
import os
import resource
import signal
from collections.abc import Iterator

import pytest

from actors.grading import GradingError, GradingPool, GradingSettings, Verdict

HANGING = [r"9^{9^{9^{9}}} + x", r"(10^{9})! + \sqrt{2}", r"\sum_{n=1}^{10^{12}} \frac{1}{n^3 + n!}"]
GOLD = r"\frac{\sqrt{3}}{3}"
EQUAL = r"\boxed{\frac{1}{\sqrt{3}}}"


@pytest.fixture
def pool() -> Iterator[GradingPool]:
    pool = GradingPool(GradingSettings(workers=2, timeout_s=1.5, memory_mib=512))
    yield pool
    pool.close()


def boxed(answer: str) -> str:
    return rf"The answer is \boxed{{{answer}}}."


def grade(pool: GradingPool, *items: tuple[str, str]) -> list[Verdict]:
    return asyncio.run(pool.grade(items))


def test_verdicts_come_in_the_order_of_their_items(pool: GradingPool) -> None:
    items = [(EQUAL, GOLD), (boxed("3"), "4"), (boxed(r"\sqrt{5}"), GOLD), ("no box", "1"), (boxed("1/2"), "0.5")]
    verdicts = grade(pool, *items)
    assert [verdict.correct for verdict in verdicts] == [True, False, False, False, True]
    assert [verdict.answer for verdict in verdicts] == [r"\frac{1}{\sqrt{3}}", "3", r"\sqrt{5}", None, "1/2"]
    assert not any(verdict.timed_out or verdict.crashed for verdict in verdicts)


def test_numbers_never_reach_a_process(pool: GradingPool) -> None:
    grade(pool, (boxed("3"), "4"), (boxed("0.5"), "1/2"), (boxed("(B)"), "B"))
    assert pool.health().graded == 3
    assert pool.health().symbolic == 0


def test_hanging_answers_are_killed_without_loss_of_the_others(pool: GradingPool) -> None:
    items = [
        (EQUAL, GOLD),
        (boxed(HANGING[0]), GOLD),
        (EQUAL + " ", r"\sqrt{1/3}"),
        (boxed(HANGING[1]), GOLD),
        (boxed("7"), "7"),
    ]
    before = {worker.pid for worker in pool._workers}
    verdicts = grade(pool, *items)
    assert before.isdisjoint({worker.pid for worker in pool._workers})
    assert [verdict.correct for verdict in verdicts] == [True, False, True, False, True]
    assert [verdict.timed_out or verdict.crashed for verdict in verdicts] == [False, True, False, True, False]
    assert [verdict.correct for verdict in grade(pool, (EQUAL, GOLD))] == [True]
    assert pool.health().alive == 2


@pytest.mark.parametrize("answer", HANGING)
def test_each_hanging_answer_is_wrong(pool: GradingPool, answer: str) -> None:
    assert not grade(pool, (boxed(answer), GOLD))[0].correct


def test_a_group_with_one_hanging_answer_pays_for_it_once(pool: GradingPool) -> None:
    verdicts = grade(pool, *[(boxed(HANGING[0]), GOLD)] * 8)
    assert all(verdict.timed_out for verdict in verdicts)
    assert pool.health().symbolic == pool.health().timed_out == 1


@pytest.mark.parametrize(
    "text",
    [
        boxed("1+" * 600_000 + "x"),
        boxed("{" * 50_000 + "x" + "}" * 50_000),
        "x" * 3_000_000,
        r"\boxed{" * 200_000,
        boxed("{" * 1500 + "x" + "}" * 1500),
        boxed(r"\sqrt{" * 500 + "x" + "}" * 500),
        boxed("\x00\ud800"),
    ],
    ids=["megabyte", "deep_and_long", "no_box", "open_boxes", "deep", "nested_roots", "not_text"],
)
def test_oversized_and_malformed_answers_are_wrong(pool: GradingPool, text: str) -> None:
    verdicts = grade(pool, (text, GOLD), (EQUAL, GOLD))
    assert [verdict.correct for verdict in verdicts] == [False, True]


def test_a_process_killed_while_idle_is_replaced(pool: GradingPool) -> None:
    grade(pool, (EQUAL, GOLD), (boxed(r"\sqrt{7}"), GOLD))
    for worker in pool._workers:
        os.kill(worker.pid, signal.SIGKILL)
    assert grade(pool, (EQUAL, GOLD))[0].correct


def test_an_item_that_ends_two_processes_is_a_crash_and_costs_no_other_item() -> None:
    pool = GradingPool(GradingSettings(workers=1, timeout_s=60))
    (worker,) = pool._workers

    async def kill_twice_at_work() -> list[Verdict]:
        grading = asyncio.create_task(pool.grade([(boxed(HANGING[0]), GOLD), (EQUAL, GOLD)]))
        killed = 0
        for _ in range(2):
            while not worker.busy or worker.pid == killed:
                await asyncio.sleep(0)
            killed = worker.pid
            os.kill(killed, signal.SIGKILL)
        return await grading

    crashed, correct = asyncio.run(kill_twice_at_work())
    pool.close()
    assert (crashed.correct, crashed.crashed, crashed.timed_out) == (False, True, False)
    assert correct.correct
    assert pool.health().crashed == 1


def test_processes_live_under_the_memory_limit(pool: GradingPool) -> None:
    grade(pool, (EQUAL, GOLD), (boxed(r"\sqrt{7}"), GOLD))
    bounded = [
        int(resource.prlimit(worker.pid, resource.RLIMIT_AS)[0]) >> 20 for worker in pool._workers if worker.ready
    ]
    assert bounded
    assert set(bounded) == {512}


def test_a_closed_pool_leaves_no_process() -> None:
    pool = GradingPool(GradingSettings(workers=2))
    pool.close()
    assert pool.health().alive == 0


def test_a_pool_whose_processes_cannot_start_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.executable", "/bin/false")
    pool = GradingPool(GradingSettings(workers=1))
    with pytest.raises(GradingError, match="ended at its start"):
        grade(pool, (EQUAL, GOLD))
    pool.close()
