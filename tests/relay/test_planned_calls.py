"""Random places for the calls of relayed answers."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.relay.planned_calls import PlannedCall, random_plans

rows = st.lists(st.tuples(st.integers(0, 30), st.lists(st.integers(1, 500), max_size=5)), max_size=4)


@given(rows, st.integers(0, 10))
def test_a_plan_has_the_calls_of_its_answer_at_places_of_their_own(
    answers: list[tuple[int, list[int]]], seed: int
) -> None:
    plans = random_plans([tokens for tokens, _ in answers], [lengths for _, lengths in answers], seed)
    assert len(plans) == len(answers)
    for plan, (tokens, lengths) in zip(plans, answers, strict=True):
        places = [call.position for call in plan]
        assert sorted(call.requested for call in plan) == sorted(lengths)
        assert places == sorted(set(places))
        assert all(0 <= place < max(tokens, len(lengths)) for place in places)


@given(rows, st.integers(0, 10))
def test_a_plan_does_not_depend_on_the_answers_after_it(answers: list[tuple[int, list[int]]], seed: int) -> None:
    tokens, lengths = [row[0] for row in answers], [row[1] for row in answers]
    assert random_plans([*tokens, 9], [*lengths, [3]], seed)[:-1] == random_plans(tokens, lengths, seed)


def test_every_place_and_every_order_of_lengths_is_as_likely() -> None:
    plans = random_plans([4] * 12_000, [(7, 8)] * 12_000, seed=0)
    counts = Counter(tuple((call.position, call.requested) for call in plan) for plan in plans)
    assert len(counts) == 4 * 3
    assert all(abs(count - 1000) < 150 for count in counts.values())


def test_another_seed_draws_other_places() -> None:
    assert random_plans([1000], [[1, 2]], 0) != random_plans([1000], [[1, 2]], 1)


def test_lengths_without_an_answer_are_refused() -> None:
    with pytest.raises(ValueError, match="zip"):
        random_plans([5], [[1], [2]], 0)


@pytest.mark.parametrize(("position", "requested"), [(-1, 5), (0, 0)])
def test_calls_that_cannot_be_made_are_refused(position: int, requested: int) -> None:
    with pytest.raises(ValueError, match="at least 1 token"):
        PlannedCall(position, requested)
