"""Reward schemes by name: what each trajectory of a prompt group earns."""

import importlib
import math
from collections.abc import Callable, Sequence
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from rewards.scenarios import Outcome, Scenario, scenario_of


class UnknownSchemeError(ValueError):
    """No reward scheme has this name."""


class RewardError(ValueError):
    """A reward scheme returned what no reward can be; the message names the scheme and the value."""


class RewardSettings(BaseModel):
    """The reward scheme, its values and the normalisation of advantages; defaults are the paper's."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, allow_inf_nan=False)

    scheme: str = Field(
        "difficulty_aware", description="a scheme's name, or `package.module:name` to import its module first"
    )
    independence_bonus: float = Field(1.5, description="correct without a call; 1 takes the bonus away")
    missed_call: float = Field(
        -1.0, description="wrong without a call, where a call would have helped (teacher-dependent)"
    )
    exploration_weight: float = Field(1.0, description="times the call ratio, where none is correct; 0 takes it away")
    call_ratio_over: Literal["answer", "group_mean"] = Field(
        "answer",
        description="the length that teacher tokens are divided by: the answer's own, as in the paper, or the group's mean, "
        "so that no answer lowers its call ratio by going on for longer",
    )
    normalisation: Literal["std", "mean"] = Field(
        "std", description="mean leaves out the division, which blows the small rewards of unsolvable groups up"
    )
    epsilon: float = Field(1e-6, gt=0.0, description="added to the standard deviation")
    cut_off: Literal["wrong", "graded", "excluded"] = Field(
        "wrong",
        description="an answer that ended at a limit and not by an end of text is wrong and earns nothing for exploring; "
        "graded like a finished one, as in the released code; or wrong and excluded from scenario, mean and loss. "
        "Evaluations count it as wrong unless it is graded",
    )
    overlong_tokens: int = Field(
        0,
        ge=0,
        description="over the last so many tokens before limits.max_new_tokens a penalty grows from 0 to overlong_penalty, "
        "as in DAPO; 0 is off",
    )
    overlong_penalty: float = Field(1.0, ge=0.0, description="subtracted from the reward of an answer at the limit")

    @field_validator("scheme")
    @classmethod
    def _known(cls, name: str) -> str:
        find_scheme(name)
        return name


Scheme = Callable[[Sequence[Outcome], RewardSettings], list[float]]
"""Rewards of one prompt group, one for each outcome, in order."""

_SCHEMES: dict[str, Scheme] = {}


def register_scheme(name: str) -> Callable[[Scheme], Scheme]:
    """Return a decorator that makes a scheme known as `name`; `ValueError` if another one has it."""

    def register(scheme: Scheme) -> Scheme:
        known = _SCHEMES.setdefault(name, scheme)
        if (known.__module__, known.__qualname__) != (scheme.__module__, scheme.__qualname__):
            raise ValueError(
                f"reward scheme {name!r} is registered already, by {known.__module__}.{known.__qualname__}"
            )
        return scheme

    return register


def scheme_names() -> list[str]:
    """Names of the schemes registered so far, sorted."""
    return sorted(_SCHEMES)


def find_scheme(name: str) -> Scheme:
    """Return the scheme called `name`, importing its module for `package.module:name`; else `UnknownSchemeError`."""
    module, _, short_name = name.rpartition(":")
    if module:
        try:
            importlib.import_module(module)
        except ImportError as error:
            raise UnknownSchemeError(
                f"reward scheme {name!r}: module {module!r} cannot be imported: {error}"
            ) from error
    if module and short_name not in _SCHEMES:
        raise UnknownSchemeError(
            f"reward scheme {name!r}: module {module!r} was imported and registers no {short_name!r}: decorate the function "
            f"with @register_scheme({short_name!r}) of rewards.schemes"
        )
    if short_name not in _SCHEMES:
        raise UnknownSchemeError(f"unknown reward scheme {short_name!r}; known: {', '.join(scheme_names())}")
    return _SCHEMES[short_name]


def group_rewards(group: Sequence[Outcome], settings: RewardSettings) -> list[float]:
    """Return the rewards of one prompt's group under the configured scheme, in order.

    Raises `RewardError` unless the scheme gives one finite number for each outcome.
    """
    rewards = [float(reward) for reward in find_scheme(settings.scheme)(group, settings)]
    if len(rewards) != len(group):
        raise RewardError(
            f"reward scheme {settings.scheme!r} returned {len(rewards)} rewards for a group of {len(group)} answers: "
            "it should return one for each"
        )
    for number, (reward, outcome) in enumerate(zip(rewards, group, strict=True), start=1):
        if not math.isfinite(reward):
            raise RewardError(
                f"reward scheme {settings.scheme!r} returned {reward} for answer {number} of {len(group)} ({outcome}): "
                "every reward should be a finite number"
            )
    return rewards


def overlong_penalty(output_tokens: int, max_new_tokens: int, settings: RewardSettings) -> float:
    """Return what an answer of this length loses: DAPO's soft penalty (arXiv 2503.14476, equation 13), from 0 on."""
    if settings.overlong_tokens == 0:
        return 0.0
    over = output_tokens - (max_new_tokens - settings.overlong_tokens)
    return settings.overlong_penalty * min(max(over / settings.overlong_tokens, 0.0), 1.0)


@register_scheme("difficulty_aware")
def difficulty_aware(group: Sequence[Outcome], settings: RewardSettings) -> list[float]:
    """The difficulty-aware reward (paper section 2.3): what help is worth depends on the group's scenario."""
    scenario = scenario_of(group)

    def reward(outcome: Outcome) -> float:
        if outcome.correct:
            return 1.0 - outcome.call_ratio if outcome.called else settings.independence_bonus
        if scenario is Scenario.TEACHER_DEPENDENT and not outcome.called:
            return settings.missed_call
        if scenario is Scenario.TEACHER_UNSOLVABLE and outcome.called and not outcome.cut_off:
            return settings.exploration_weight * outcome.call_ratio
        return 0.0

    return [reward(outcome) for outcome in group]


@register_scheme("simple")
def simple(group: Sequence[Outcome], settings: RewardSettings) -> list[float]:
    """The simple reward (paper section 2.3): correctness minus the call ratio, whatever the scenario."""
    return [float(outcome.correct) - outcome.call_ratio for outcome in group]


@register_scheme("accuracy")
def accuracy(group: Sequence[Outcome], settings: RewardSettings) -> list[float]:
    """Correctness alone: the reward of GRPO without calls."""
    return [float(outcome.correct) for outcome in group]
