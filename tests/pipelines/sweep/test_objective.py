"""The one number of a sweep: accuracy within a budget for the call ratio."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.records.objective import WithinBudget, within_budget
from tests.pipelines.evaluation_rows import row

SHARES = st.floats(0.0, 1.0)
BUDGETS = st.floats(0.001, 1.0)


@given(SHARES, SHARES, BUDGETS)
def test_it_is_the_accuracy_within_the_budget_and_less_above(accuracy: float, ratio: float, budget: float) -> None:
    value = WithinBudget(accuracy, ratio, budget).value
    assert value == accuracy if ratio <= budget else value == pytest.approx(accuracy * budget / ratio)
    assert 0.0 <= value <= accuracy


@given(SHARES, BUDGETS)
def test_it_has_no_jump_at_the_budget(accuracy: float, budget: float) -> None:
    above = WithinBudget(accuracy, budget * (1 + 1e-9), budget).value
    assert above == pytest.approx(accuracy, rel=1e-6)


def test_kinds_count_equally_and_the_row_on_all_problems_does_not_count() -> None:
    rows = [
        row("final", 4, "relay", "known", 900, 900, call_ratio=0.0),
        row("final", 4, "relay", "teacher_known", 50, 100, call_ratio=0.4),
        row("final", 4, "relay", "all", 950, 1000, call_ratio=0.04),
    ]
    found = within_budget(rows, 0.1)
    assert found is not None
    assert (found.accuracy, found.call_ratio, found.value) == (0.75, 0.2, pytest.approx(0.375))


@pytest.mark.parametrize("kinds", [[], ["known"], ["known", "teacher_known"]])
def test_an_evaluation_whose_last_row_is_not_written_yet_has_none(kinds: list[str]) -> None:
    assert within_budget([row("final", 4, "relay", kind, 3) for kind in kinds], 0.1) is None


def test_other_policies_have_none() -> None:
    rows = [row("final", 4, "student", kind, 3) for kind in ("known", "all")]
    assert within_budget(rows, 0.1) is None
