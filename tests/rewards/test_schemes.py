"""Each reward scheme pays what its table says."""

import itertools
import sys
import types
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from rewards.scenarios import Outcome
from rewards.schemes import (
    _SCHEMES,
    RewardError,
    RewardSettings,
    UnknownSchemeError,
    find_scheme,
    group_rewards,
    overlong_penalty,
    register_scheme,
    scheme_names,
    simple,
)

ALONE, HELPED = Outcome(True, False, 0.0), Outcome(True, True, 0.2)
WRONG, WRONG_HELPED = Outcome(False, False, 0.0), Outcome(False, True, 0.3)

outcomes = st.builds(
    lambda correct, ratio: Outcome(correct, ratio > 0, ratio),
    st.booleans(),
    st.sampled_from([0.0, 0.1, 0.25, 0.5, 1.0]),
)
groups = st.lists(outcomes, min_size=1, max_size=8)
settings_of_every_scheme = st.sampled_from(
    [RewardSettings(scheme=name) for name in ("difficulty_aware", "simple", "accuracy")]
)


@pytest.mark.parametrize(
    ("group", "rewards"),
    [
        ([ALONE, HELPED, WRONG, WRONG_HELPED], [1.5, 0.8, 0.0, 0.0]),
        ([HELPED, WRONG, WRONG_HELPED], [0.8, -1.0, 0.0]),
        ([WRONG, WRONG_HELPED], [0.0, 0.3]),
    ],
)
def test_difficulty_aware_rewards_follow_the_table(group: list[Outcome], rewards: list[float]) -> None:
    assert group_rewards(group, RewardSettings()) == pytest.approx(rewards)


def test_every_value_of_the_table_is_a_setting() -> None:
    settings = RewardSettings(independence_bonus=1.0, missed_call=-0.5, exploration_weight=0.0)
    assert group_rewards([ALONE], settings) == [1.0]
    assert group_rewards([HELPED, WRONG], settings) == pytest.approx([0.8, -0.5])
    assert group_rewards([WRONG_HELPED], settings) == [0.0]


def test_simple_rewards_are_correctness_minus_the_call_ratio() -> None:
    settings = RewardSettings(scheme="simple")
    assert group_rewards([ALONE, HELPED, WRONG, WRONG_HELPED], settings) == pytest.approx([1.0, 0.8, 0.0, -0.3])


def test_accuracy_rewards_are_correctness() -> None:
    assert group_rewards([ALONE, HELPED, WRONG, WRONG_HELPED], RewardSettings(scheme="accuracy")) == [
        1.0,
        1.0,
        0.0,
        0.0,
    ]


@given(settings_of_every_scheme, groups, st.randoms())
def test_rewards_move_with_their_trajectories(settings: RewardSettings, group: list[Outcome], random: Random) -> None:
    order = random.sample(range(len(group)), len(group))
    rewards = group_rewards(group, settings)
    assert group_rewards([group[i] for i in order], settings) == [rewards[i] for i in order]


def test_a_group_is_paid_by_its_own_scenario_and_not_by_its_batch() -> None:
    solvable, dependent = [ALONE, WRONG], [HELPED, WRONG]
    apart = [group_rewards(group, RewardSettings()) for group in (solvable, dependent)]
    assert apart == [[1.5, 0.0], pytest.approx([0.8, -1.0])]
    assert group_rewards(solvable + dependent, RewardSettings()) != list(itertools.chain(*apart))


def test_an_answer_that_was_cut_off_earns_nothing_for_exploring() -> None:
    assert group_rewards([WRONG_HELPED, replace(WRONG_HELPED, cut_off=True)], RewardSettings()) == [0.3, 0.0]


@pytest.mark.parametrize(("tokens", "penalty"), [(10, 0.0), (80, 0.0), (85, 0.5), (90, 1.0), (100, 2.0)])
def test_the_penalty_on_overlong_answers_grows_to_the_limit(tokens: int, penalty: float) -> None:
    settings = RewardSettings(overlong_tokens=20, overlong_penalty=2.0)
    assert overlong_penalty(tokens, 100, settings) == pytest.approx(penalty)
    assert overlong_penalty(tokens, 100, RewardSettings()) == 0.0


@pytest.mark.parametrize(
    "bad",
    [[float("nan"), 1.0], [1.0, float("inf")], [1.0], [1.0, 2.0, 3.0], [None, 1.0], [1.0, "1"], [1.0, -1e39], None],
    ids=str,
)
def test_rewards_that_are_none_are_refused_by_scheme_and_answer(bad: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(_SCHEMES, "bad", lambda group, settings: bad)
    with pytest.raises(RewardError, match=r"'bad'.*(answer [12] of 2|for a group of 2|failed for the answers)"):
        group_rewards([ALONE, WRONG], RewardSettings(scheme="bad"))


def test_a_scheme_that_fails_is_named_with_its_group(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(_SCHEMES, "bad", lambda group, settings: [1 / len(group[2:]) for _ in group])
    with pytest.raises(RewardError, match=r"'bad' failed for the answers \[Outcome\(.*ZeroDivisionError"):
        group_rewards([ALONE, WRONG], RewardSettings(scheme="bad"))


def test_an_unknown_scheme_is_refused_with_the_known_names() -> None:
    with pytest.raises(ValidationError, match="accuracy, difficulty_aware, simple"):
        RewardSettings(scheme="difficulty")


def test_an_unknown_setting_is_refused() -> None:
    with pytest.raises(ValidationError, match="independance_bonus"):
        RewardSettings.model_validate({"independance_bonus": 1.0})


def test_a_missing_scheme_module_is_named() -> None:
    with pytest.raises(UnknownSchemeError, match="no_such_package"):
        find_scheme("no_such_package:mine")


@pytest.mark.parametrize("text", ["1 / 0", "raise SystemExit(3)", "def"])
def test_a_scheme_module_that_cannot_be_imported_is_named(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken_scheme.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UnknownSchemeError, match=r"'broken_scheme' cannot be imported: (Zero|SystemExit|Syntax)"):
        find_scheme("broken_scheme:mine")


@pytest.mark.parametrize("name", ["a b:mine", "package.module:", ":mine", "a..b:mine"])
def test_a_name_that_can_be_no_module_is_refused_at_once(name: str) -> None:
    with pytest.raises(ValidationError, match=r"or `package\.module:name`"):
        RewardSettings(scheme=name)


@pytest.mark.parametrize("name", [".schemes:mine", "..:mine"])
def test_a_scheme_module_without_its_package_is_refused(name: str) -> None:
    with pytest.raises(ValidationError, match="begins with a dot; write it in full"):
        RewardSettings(scheme=name)


def test_a_scheme_is_found_through_its_module(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rewards.schemes._SCHEMES", {"simple": simple})
    monkeypatch.setitem(sys.modules, "user_schemes", types.ModuleType("user_schemes"))

    @register_scheme("constant")
    def constant(group: Sequence[Outcome], settings: RewardSettings) -> list[float]:
        return [3.0] * len(group)

    assert scheme_names() == ["constant", "simple"]
    assert group_rewards([ALONE, WRONG], RewardSettings(scheme="user_schemes:constant")) == [3.0, 3.0]


def test_a_name_is_registered_once() -> None:
    with pytest.raises(ValueError, match="'simple' is already registered"):
        register_scheme("simple")(lambda group, settings: [])
