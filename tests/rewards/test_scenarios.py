"""A scenario is named from one prompt's group alone."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewards.scenarios import Outcome, Scenario, scenario_of

ALONE, HELPED = Outcome(True, False, 0.0), Outcome(True, True, 0.2)
WRONG, WRONG_HELPED = Outcome(False, False, 0.0), Outcome(False, True, 0.3)

outcomes = st.builds(Outcome, st.booleans(), st.booleans(), st.floats(0, 1))


@pytest.mark.parametrize(
    ("group", "scenario"),
    [
        ([ALONE, HELPED, WRONG, WRONG_HELPED], Scenario.STUDENT_SOLVABLE),
        ([ALONE], Scenario.STUDENT_SOLVABLE),
        ([HELPED, WRONG, WRONG_HELPED], Scenario.TEACHER_DEPENDENT),
        ([HELPED], Scenario.TEACHER_DEPENDENT),
        ([WRONG, WRONG_HELPED], Scenario.TEACHER_UNSOLVABLE),
        ([WRONG], Scenario.TEACHER_UNSOLVABLE),
    ],
)
def test_scenario_follows_the_table(group: list[Outcome], scenario: Scenario) -> None:
    assert scenario_of(group) is scenario


def test_an_empty_group_has_no_scenario() -> None:
    with pytest.raises(ValueError, match="empty group"):
        scenario_of([])


@given(
    st.lists(outcomes, min_size=1, max_size=8).flatmap(lambda group: st.tuples(st.just(group), st.permutations(group)))
)
def test_order_does_not_matter(groups: tuple[list[Outcome], list[Outcome]]) -> None:
    assert scenario_of(groups[0]) is scenario_of(groups[1])
