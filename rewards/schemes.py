"""Reward schemes by name. A scheme computes the reward of each trajectory of a prompt group."""

import importlib
from collections.abc import Callable, Sequence
from numbers import Real
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from rewards.scenarios import Outcome, Scenario, scenario_of


class UnknownSchemeError(ValueError):
    """No reward scheme has this name."""


class RewardError(ValueError):
    """A reward scheme returned a value that cannot be a reward, or the wrong number of rewards. The message names the scheme."""


_MOST_REWARD = 1e9
"""advantages of larger ones would lose all precision, or overflow, in float32"""

Value = Annotated[float, Field(ge=-1e6, le=1e6)]


class RewardSettings(BaseModel):
    """The reward scheme, its values and the normalisation of advantages; defaults are the paper's."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, allow_inf_nan=False)

    scheme: str = Field(
        "difficulty_aware", description="a scheme's name, or `package.module:name` to import its module first"
    )
    independence_bonus: Value = Field(1.5, description="reward of a correct answer without a call; 1 means no bonus")
    missed_call: Value = Field(
        -1.0,
        description="reward of a wrong answer without a call in a teacher-dependent group, where a call would have helped",
    )
    exploration_weight: Value = Field(
        1.0,
        description="in a teacher-unsolvable group, an answer with a call earns this times its call ratio; 0 means nothing",
    )
    call_ratio_over: Literal["answer", "group_mean"] = Field(
        "answer",
        description="length that teacher tokens are divided by: the answer's own, as in the paper, or the group's mean, "
        "so that no answer can lower its call ratio by being longer",
    )
    normalisation: Literal["std", "mean"] = Field(
        "std",
        description="std divides by the group's standard deviation, which scales up the small rewards of unsolvable groups; "
        "mean does not divide",
    )
    epsilon: float = Field(1e-6, gt=0.0, le=1e6, description="added to the standard deviation")
    cut_off: Literal["wrong", "graded", "excluded"] = Field(
        "wrong",
        description="treatment of an answer that ended at a limit, not by an end of text. wrong: it is wrong, and earns "
        "nothing for exploring. graded: it is graded like a finished one, as in the released code. excluded: it is wrong, and "
        "left out of scenario, mean and loss. Evaluations count it as wrong unless it is graded",
    )
    overlong_tokens: int = Field(
        0,
        ge=0,
        le=10_000_000,
        description="over this number of tokens before limits.max_new_tokens, a penalty grows from 0 to overlong_penalty, "
        "as in DAPO; 0 is off",
    )
    overlong_penalty: float = Field(
        1.0, ge=0.0, le=1e6, description="subtracted from the reward of an answer at the limit"
    )

    @field_validator("scheme")
    @classmethod
    def _may_be_known(cls, name: str) -> str:
        """Check the name without importing a module: settings are also read from run directories, which others may have written."""
        module, colon, short_name = name.rpartition(":")
        if not colon:
            find_scheme(name)
        elif module.startswith("."):
            raise UnknownSchemeError(f"reward scheme {name!r}: the module's name begins with a dot; write it in full")
        elif not short_name or not all(part.isidentifier() for part in module.split(".")):
            raise UnknownSchemeError(f"reward scheme {name!r}: should be a scheme's name, or `package.module:name`")
        return name


Scheme = Callable[[Sequence[Outcome], RewardSettings], list[float]]
"""a function that returns the rewards of one prompt group, one for each outcome, in order"""

_SCHEMES: dict[str, Scheme] = {}


def register_scheme(name: str) -> Callable[[Scheme], Scheme]:
    """Return a decorator that registers a scheme as `name`. It raises `ValueError` if another scheme has this name."""

    def register(scheme: Scheme) -> Scheme:
        known = _SCHEMES.setdefault(name, scheme)
        if (known.__module__, known.__qualname__) != (scheme.__module__, scheme.__qualname__):
            raise ValueError(
                f"reward scheme {name!r} is already registered, by {known.__module__}.{known.__qualname__}"
            )
        return scheme

    return register


def scheme_names() -> list[str]:
    """Return the names of the schemes registered so far, sorted."""
    return sorted(_SCHEMES)


def find_scheme(name: str) -> Scheme:
    """Return the scheme called `name`. For `package.module:name`, import the module first.

    Raises `UnknownSchemeError` if the module cannot be imported, or if no scheme has this name.
    """
    module, _, short_name = name.rpartition(":")
    if module:
        try:
            importlib.import_module(module)
        except (Exception, SystemExit) as error:
            raise UnknownSchemeError(
                f"reward scheme {name!r}: module {module!r} cannot be imported: {type(error).__name__}: {error}"
            ) from error
    if module and short_name not in _SCHEMES:
        raise UnknownSchemeError(
            f"reward scheme {name!r}: module {module!r} was imported, but registers no {short_name!r}: decorate the function "
            f"with @register_scheme({short_name!r}) of rewards.schemes"
        )
    if short_name not in _SCHEMES:
        raise UnknownSchemeError(f"unknown reward scheme {short_name!r}; known: {', '.join(scheme_names())}")
    return _SCHEMES[short_name]


def group_rewards(group: Sequence[Outcome], settings: RewardSettings) -> list[float]:
    """Return the rewards of one prompt's group under the configured scheme, in order.

    Raises `RewardError` unless the scheme gives one number for each outcome, of at most a billion either way.
    """
    try:
        rewards = list(find_scheme(settings.scheme)(group, settings))
    except Exception as error:
        raise RewardError(
            f"reward scheme {settings.scheme!r} failed for the answers {list(group)}: {type(error).__name__}: {error}"
        ) from error
    if len(rewards) != len(group):
        raise RewardError(
            f"reward scheme {settings.scheme!r} returned {len(rewards)} rewards for a group of {len(group)} answers: "
            "it should return one for each"
        )
    for number, (reward, outcome) in enumerate(zip(rewards, group, strict=True), start=1):
        if not isinstance(reward, Real) or not abs(reward) <= _MOST_REWARD:  # NaN is not
            raise RewardError(
                f"reward scheme {settings.scheme!r} returned {reward!r} for answer {number} of {len(group)} ({outcome}): "
                f"every reward should be a number from -{_MOST_REWARD:g} to {_MOST_REWARD:g}"
            )
    return [float(reward) for reward in rewards]


def overlong_penalty(output_tokens: int, max_new_tokens: int, settings: RewardSettings) -> float:
    """Return the penalty on an answer's length, 0 or more, to be subtracted from its reward.

    It is DAPO's soft overlong punishment (arXiv 2503.14476, equation 13). It grows linearly from 0 to `overlong_penalty`
    over the last `overlong_tokens` before `max_new_tokens`.
    """
    if settings.overlong_tokens == 0:
        return 0.0
    over = output_tokens - (max_new_tokens - settings.overlong_tokens)
    return settings.overlong_penalty * min(max(over / settings.overlong_tokens, 0.0), 1.0)


@register_scheme("difficulty_aware")
def difficulty_aware(group: Sequence[Outcome], settings: RewardSettings) -> list[float]:
    """Return the difficulty-aware rewards (paper section 2.3). The value of a call depends on the group's scenario."""
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
    """Return the simple rewards (paper section 2.3): correctness (0 or 1) minus the call ratio, in every scenario."""
    return [float(outcome.correct) - outcome.call_ratio for outcome in group]


@register_scheme("accuracy")
def accuracy(group: Sequence[Outcome], settings: RewardSettings) -> list[float]:
    """Return correctness alone (0 or 1): the reward of GRPO without calls."""
    return [float(outcome.correct) for outcome in group]
