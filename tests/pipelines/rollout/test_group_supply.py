"""Which groups a step gets: every problem once, late ones in a later step, none too old."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.data.problem import Problem
from pipelines.rollout.group_supply import Cursor, GroupSupply, StepGroups, problems_from

Choose = Callable[[Sequence[int]], int]


def some(count: int) -> list[Problem]:
    return [Problem(question=str(i), gold=str(i), kind="known") for i in range(count)]


def slow(*late: int) -> Choose:
    """Orders are finished as they were given, but the late ones after all others."""
    return lambda unfinished: min(unfinished, key=lambda index: (index in late, index))


def drawn(seed: int) -> Choose:
    random = Random(seed)
    return lambda unfinished: random.choice(list(unfinished))


def supply_of(
    stream: Any,
    steps: int = 4,
    per_step: int = 3,
    extra: int = 0,
    max_staleness: int = 2,
    cursor: Cursor | None = None,
    spoilt: Callable[[Any], bool] = lambda group: False,
) -> GroupSupply:
    return GroupSupply(
        stream,
        some(10),
        cursor or Cursor(0),
        seed=0,
        steps=steps,
        per_step=per_step,
        extra=extra,
        max_staleness=max_staleness,
        spoilt=spoilt,
    )


class Steps:
    """Takes step after step, where the policy version is the number of the step."""

    def __init__(self, scripted_stream: Any, choose: Choose, steps: int, **settings: Any) -> None:
        self.step, self.steps = 0, steps
        self.stream = scripted_stream(choose, lambda: self.step)
        self.supply = supply_of(self.stream, steps, **settings)

    def take(self) -> StepGroups:
        self.supply.order()
        groups = self.supply.take(self.step)
        self.supply.learned(groups)
        self.step += 1
        return groups

    def take_all(self) -> list[list[int]]:
        """The places of each step's groups."""
        return [[group.first for group in self.take().groups] for _ in range(self.steps)]


@given(st.integers(0, 10**6))
def test_without_extra_groups_a_step_is_its_own_problems_by_place_whatever_finishes_first(
    scripted_stream: Any, seed: int
) -> None:
    run = Steps(scripted_stream, drawn(seed), steps=2)
    assert run.take_all() == [[0, 1, 2], [3, 4, 5]]
    assert run.supply.cursor == Cursor(6)


def test_the_last_to_finish_go_into_the_next_step_with_their_version(scripted_stream: Any) -> None:
    run = Steps(scripted_stream, slow(1), steps=3, extra=1)
    first = run.take()
    assert ([group.first for group in first.groups], first.late) == ([0, 2, 3], 0)
    assert run.supply.cursor == Cursor(4, (1,))
    run.stream.choose = slow()
    second = run.take()
    assert [(group.first, group.version) for group in second.groups] == [(1, 0), (4, 1), (5, 1)]
    assert second.late == 1


def test_a_step_waits_for_a_group_that_would_be_too_old_in_the_next_one(scripted_stream: Any) -> None:
    run = Steps(scripted_stream, slow(0), steps=4, extra=1, max_staleness=2)
    assert run.take_all() == [[1, 2, 3], [4, 5, 6], [0, 7, 8], [9, 10, 11]]


def test_the_last_step_leaves_nothing_over(scripted_stream: Any) -> None:
    run = Steps(scripted_stream, slow(0, 3), steps=2, extra=2, max_staleness=3)
    assert {place for places in run.take_all() for place in places} == set(range(6))
    assert run.stream.unfinished == [] and run.supply.cursor == Cursor(6)


@given(st.integers(0, 10**6), st.integers(1, 20))
def test_spoilt_groups_are_decoded_again_until_they_are_not(scripted_stream: Any, seed: int, count: int) -> None:
    verdicts = iter([True] * count)
    run = Steps(scripted_stream, drawn(seed), steps=2, spoilt=lambda group: next(verdicts, False))
    first, second = run.take(), run.take()
    assert [group.first for group in (*first.groups, *second.groups)] == [0, 1, 2, 3, 4, 5]
    assert first.again + second.again == count and first.again == count
    assert run.supply.cursor == Cursor(6)
    by_place = {place: problem for place, problem, _ in run.stream.orders}
    assert all(by_place[place] == problem for place, problem, _ in run.stream.orders)


def test_what_a_cursor_carries_is_ordered_first_and_again(scripted_stream: Any) -> None:
    run = Steps(scripted_stream, slow(), steps=2, extra=1, cursor=Cursor(8, (2, 7)))
    assert run.supply.cursor == Cursor(8, (2, 7))
    assert run.take_all() == [[2, 7, 8], [9, 10, 11]]
    assert [problem for _, problem, _ in run.stream.orders] == [
        *problems_from(some(10), 2, 1, seed=0),
        *problems_from(some(10), 7, 5, seed=0),
    ]


@given(
    seed=st.integers(0, 10**6),
    depth=st.integers(0, 1),
    per_step=st.integers(1, 4),
    extra=st.integers(0, 4),
    more=st.integers(0, 2),
    steps=st.integers(1, 6),
    killed=st.integers(0, 6),
)
def test_whatever_is_late_every_problem_is_learned_from_once_and_none_is_too_old(
    scripted_stream: Any, seed: int, depth: int, per_step: int, extra: int, more: int, steps: int, killed: int
) -> None:
    extra, killed = min(extra, per_step), min(killed, steps)
    bound = max(depth + (extra > 0) + more, 1)
    learned: list[int] = []
    cursor = Cursor(0)
    at = {"version": 0}
    for first, last in ((0, killed), (killed, steps)):
        stream = scripted_stream(drawn(seed + first), lambda: at["version"])
        supply = supply_of(stream, steps - first, per_step, extra, bound, Cursor.read(cursor.written()))
        ahead = None
        for step in range(first, last):
            at["version"] = step
            if ahead is None:
                supply.order()
                ahead = supply.take(step)
            now, ahead = ahead, None
            if depth and step + 1 < steps:
                supply.order()
                ahead = supply.take(step + 1)
            assert len(now.groups) == per_step
            assert max(step - group.version for group in now.groups) <= bound
            learned += [group.first for group in now.groups]
            supply.learned(now)
            cursor = supply.cursor
    assert Counter(learned) == Counter(range(steps * per_step))


@given(st.integers(1, 12), st.integers(1, 15), st.integers(1, 3), st.integers(0, 5))
def test_each_epoch_holds_every_problem_once_whatever_the_size_of_a_step(
    size: int, count: int, epochs: int, seed: int
) -> None:
    problems = some(size)
    steps = -(-epochs * size // count)
    found = [problem for step in range(steps) for problem in problems_from(problems, step * count, count, seed)]
    assert len(found) == steps * count
    for epoch in range(epochs):
        assert Counter(found[epoch * size : (epoch + 1) * size]) == Counter(problems)


def test_epochs_and_seeds_differ_in_order_and_equal_seeds_agree() -> None:
    problems = some(20)
    first, second = (problems_from(problems, place, 20, seed=3) for place in (0, 20))
    assert first != second
    assert first != problems_from(problems, 0, 20, seed=4)
    assert first == problems_from(problems, 0, 20, seed=3)


def test_problems_past_the_end_of_an_epoch_are_of_the_next_one() -> None:
    problems = some(10)
    assert problems_from(problems, 8, 8, seed=1) == problems_from(problems, 0, 20, seed=1)[8:16]


def test_a_damaged_cursor_is_refused() -> None:
    with pytest.raises(ValueError, match="next"):
        Cursor.read(b'{"carried": []}')
