"""Settings of the guard rails refuse what makes no sense, and name key, value and what would be right."""

import pytest
import yaml
from pydantic import ValidationError

from actors.serving.guards.settings import ApiKey, GuardSettings
from tests.pipelines.page_blocks import blocks_of

HASH = "ab" * 32


def refused(**values: object) -> str:
    with pytest.raises(ValidationError) as caught:
        GuardSettings.model_validate(values)
    return str(caught.value)


def test_defaults_need_nothing() -> None:
    assert GuardSettings().keys == ()


def test_a_key_comes_from_a_variable_or_a_hash_and_not_from_both() -> None:
    assert "'me' should have key_env or key_sha256, and it has neither" in refused(keys=[{"name": "me"}])
    both = {"name": "me", "key_env": "KEY", "key_sha256": HASH}
    assert "and it has both" in refused(keys=[both])


def test_a_key_itself_is_no_setting() -> None:
    assert "Extra inputs are not permitted" in refused(keys=[{"name": "me", "key": "secret"}])
    assert "keys.0.key_env" in refused(keys=[{"name": "me", "key_env": "sk-not-a-variable"}])


@pytest.mark.parametrize("second", [{"name": "a", "key_env": "B"}, {"name": "b", "key_env": "A"}])
def test_two_keys_differ_in_name_and_source(second: dict[str, str]) -> None:
    assert "should differ from that of every other key" in refused(keys=[{"name": "a", "key_env": "A"}, second])


def test_the_name_of_callers_without_a_key_is_taken() -> None:
    assert "name (anonymous) should be another one" in refused(keys=[{"name": "anonymous", "key_env": "A"}])


def test_the_limit_of_one_key_is_within_that_of_all() -> None:
    one = [{"name": "a", "key_env": "A"}]
    assert "max_concurrent_per_key (9) should be at most max_concurrent (8)" in refused(
        keys=one, max_concurrent=8, max_concurrent_per_key=9
    )
    assert "max_concurrent_per_key (2) should be empty without keys" in refused(max_concurrent_per_key=2)


@pytest.mark.parametrize(
    "budget", [{"requests": 0}, {"cost": 0}, {"cost": -1}, {"cost": 1e-7}, {"teacher_tokens": -1}, {"tokens": 5}]
)
def test_a_budget_that_allows_nothing_or_less_is_refused(budget: dict[str, float]) -> None:
    with pytest.raises(ValidationError):
        ApiKey.model_validate({"name": "a", "key_env": "A", "budget": budget})


@pytest.mark.parametrize(
    "values",
    [
        {"max_body_kib": 0},
        {"max_concurrent": 0},
        {"queue": {"max_waiting": -1}},
        {"queue": {"max_wait_s": 0}},
        {"body_timeout_s": 0},
        {"reservation_s": 0},
    ],
)
def test_limits_that_let_nothing_through_are_refused(values: dict[str, object]) -> None:
    assert "Input should be greater than" in refused(**values)


def test_the_documentations_example_loads() -> None:
    (example,) = [block.text for block in blocks_of("serving.md") if block.file == "public.yaml"]
    guards = GuardSettings.model_validate(yaml.safe_load(example)["guards"])
    assert [key.name for key in guards.keys] == ["team", "operator"] and guards.keys[0].budget.cost == 5.0
