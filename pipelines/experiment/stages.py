"""The schema of the stages: filter, warm-up, GRPO and evaluations."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from actors.rollout import Policy
from actors.settings import GrpoLossSettings, OptimizerSettings, RelayLimits, SamplingSettings
from cluster.settings import Settings
from cluster.weight_transport import InFlight
from pipelines.experiment.alarm_actions import AlarmActions
from pipelines.experiment.models import TeacherModelSettings

MOST_STEPS = 1_000_000
_MOST_EVALUATIONS = 10_000


class FilterSettings(Settings):
    """Keep the training problems that the teacher can solve (paper section 3.1)."""

    enabled: bool = Field(True, description="false keeps all training problems")
    samples: int = Field(10, gt=0, le=10_000, description="teacher samples per problem")
    min_pass_rate: float = Field(0.5, ge=0.0, le=1.0, description="share of the samples that have to be right")
    sampling: SamplingSettings = SamplingSettings(temperature=0.7, top_p=0.95)


class WarmupSettings(Settings):
    """Supervised warm-up: own samples with commands inserted at random (paper section 2.2)."""

    enabled: bool = Field(True, description="false starts GRPO from the base student")
    samples: int = Field(4096, gt=0, le=10_000_000, description="own samples to train on")
    copies: int = Field(1, gt=0, le=1000, description="training rows per own sample, each with its own random commands")
    sampling: SamplingSettings = Field(SamplingSettings(), description="how the own samples are drawn")
    commands: tuple[int, int] = Field((0, 3), description="fewest and most commands of a sample")
    digits: tuple[int, int] = Field((1, 9), description="range of d in n = d * 10^k")
    exponents: tuple[int, int] = Field((0, 3), description="range of k in n = d * 10^k")
    epochs: int = Field(1, gt=0, le=100_000, description="passes over all rows")
    rows_per_step: int = Field(64, gt=0, le=1_000_000, description="rows of one optimizer step")
    optimizer: OptimizerSettings = OptimizerSettings(lr=2e-5)

    @model_validator(mode="after")
    def _ranges(self) -> WarmupSettings:
        for name, lowest, highest in (("commands", 0, 1000), ("digits", 1, 1000), ("exponents", 0, 9)):
            first, last = getattr(self, name)
            if not lowest <= first <= last <= highest:
                raise ValueError(
                    f"{name} should be [first, last] with {lowest} <= first <= last <= {highest}, not [{first}, {last}]"
                )
        return self


class GrpoSettings(Settings):
    """GRPO with relayed rollouts (paper section 2.3)."""

    enabled: bool = Field(True, description="false ends training with the warm-up")
    steps: int | None = Field(
        100, gt=0, le=MOST_STEPS, description="rounds of rollout and learning; give these or epochs"
    )
    epochs: float | None = Field(
        None,
        gt=0.0,
        le=1e6,
        description="passes over the filtered training problems, in whole steps of prompts_per_step; give these or steps",
    )
    prompts_per_step: int = Field(
        128, gt=0, le=1_000_000, description="groups that a step learns from, one of each prompt"
    )
    group_size: int = Field(8, gt=1, le=10_000, description="trajectories of one prompt (G)")
    mini_batches: int = Field(4, gt=0, description="optimizer steps per rollout step; groups stay whole")
    async_depth: Literal[0, 1] = Field(
        0,
        description="1: a step's groups are decoded while the learner trains on the step before, with a policy one step older",
    )
    extra_prompts: int = Field(
        0,
        ge=0,
        description="groups decoded at a time beyond the number of a step; the last to finish join a later step",
    )
    max_staleness: int = Field(
        2,
        ge=1,
        description="policy versions that a group may be behind; a step waits for a group that would be further behind",
    )
    teacher_outage_s: float = Field(
        1800.0,
        ge=0.0,
        le=1e6,
        description="a group that loses most of its calling answers to a silent teacher is decoded again and not learned "
        "from; after so many seconds of that the run ends",
    )
    sampling: SamplingSettings = SamplingSettings()
    limits: RelayLimits = RelayLimits()
    loss: GrpoLossSettings = GrpoLossSettings()
    optimizer: OptimizerSettings = OptimizerSettings()
    checkpoint_every: int = Field(10, gt=0, description="steps between checkpoints")
    keep_checkpoints: int = Field(2, gt=0, description="the newest so many stay on disk")
    on_alarm: AlarmActions = Field(AlarmActions(), description="what follows an alarm that begins at a step")
    most_roll_backs: int = Field(
        3,
        ge=0,
        description="times that a run may go back to a checkpoint; the next alarm that asks for it ends the run",
    )
    evaluate_every: int = Field(25, gt=0, description="steps between evaluations on part of the problems")
    in_flight: InFlight = Field(
        InFlight.FINISH,
        description="what happens to turns in progress when new weights arrive: finish under the old weights, or "
        "continue under the new ones",
    )

    @property
    def most_steps(self) -> int:
        """The most steps that a run can have. Each evaluation within GRPO is a stage of its own, and these are bounded too."""
        return min(MOST_STEPS, _MOST_EVALUATIONS * self.evaluate_every)

    @model_validator(mode="before")
    @classmethod
    def _steps_or_epochs(cls, values: object) -> object:
        if not isinstance(values, dict) or values.get("epochs") is None:
            return values
        if values.get("steps") is not None:
            raise ValueError(
                f"give steps ({values['steps']}) or epochs ({values['epochs']}), and null for the other, not both"
            )
        return values | {"steps": None}

    @model_validator(mode="after")
    def _consistent(self) -> GrpoSettings:
        if self.steps is None and self.epochs is None:
            raise ValueError("give steps or epochs: both are null")
        if (self.steps or 0) > self.most_steps:
            raise ValueError(
                f"evaluate_every ({self.evaluate_every}) should be at least {-(-(self.steps or 0) // _MOST_EVALUATIONS)} with "
                f"steps ({self.steps}): each evaluation is a stage of its own, and there may be {_MOST_EVALUATIONS}"
            )
        if self.mini_batches > self.prompts_per_step:
            raise ValueError(
                f"mini_batches ({self.mini_batches}) should be at most prompts_per_step ({self.prompts_per_step})"
            )
        if self.extra_prompts > self.prompts_per_step:
            raise ValueError(
                f"extra_prompts ({self.extra_prompts}) should be at most prompts_per_step ({self.prompts_per_step})"
            )
        if self.max_staleness < (needed := self.async_depth + (self.extra_prompts > 0)):
            raise ValueError(
                f"max_staleness ({self.max_staleness}) should be at least {needed}: async_depth ({self.async_depth}), and "
                "one more if extra_prompts is above 0"
            )
        if self.sampling.top_p != 1.0 or self.sampling.top_k != -1 or self.sampling.greedy:
            raise ValueError(
                "sampling should have temperature > 0, top_p 1 and top_k -1: else importance ratios are biased"
            )
        return self


def _with_relay_before_random_placement(policies: tuple[Policy, ...]) -> tuple[Policy, ...]:
    names = [policy.value for policy in policies]
    if len(set(names)) < len(names):
        raise ValueError(f"each policy should be listed once, not {names}")
    if Policy.RANDOM_PLACEMENT in policies and Policy.RELAY not in policies[: policies.index(Policy.RANDOM_PLACEMENT)]:
        raise ValueError(f"random_placement takes its calls from the relay answers: list relay before it, not {names}")
    return policies


def _without_teacher(policies: tuple[Policy, ...]) -> tuple[Policy, ...]:
    if Policy.TEACHER in policies:
        raise ValueError("the teacher does not change in training: list it in evaluation.base or evaluation.final")
    return policies


Policies = Annotated[tuple[Policy, ...], AfterValidator(_with_relay_before_random_placement)]
StudentPolicies = Annotated[Policies, AfterValidator(_without_teacher)]


class EvaluationSettings(Settings):
    """Greedy pass@1 unless configured otherwise."""

    base: Policies = Field((Policy.STUDENT, Policy.TEACHER), description="policies evaluated before training, by name")
    warmup: StudentPolicies | None = Field(
        None, description="after the warm-up; if empty student and relay, or none if the warm-up is disabled"
    )
    training: StudentPolicies = Field(
        (Policy.STUDENT, Policy.RELAY), description="within GRPO, on part of the problems"
    )
    final: Policies = Field(
        (Policy.STUDENT, Policy.RELAY), description="at the end; random_placement needs relay before it in the list"
    )
    teacher: TeacherModelSettings | None = Field(
        None, description="the teacher of the final evaluation, if it differs from the one in training"
    )
    sampling: SamplingSettings = SamplingSettings(temperature=0.0)
    limits: RelayLimits = RelayLimits(max_calls=5)
    problems_during_training: int = Field(
        256, gt=0, description="number of problems, taken from the first on, for evaluations within GRPO"
    )
    call_ratio_budget: float = Field(
        0.1,
        gt=0.0,
        le=1.0,
        description="call ratio up to which a sweep counts the relay student's accuracy in full; no result depends on it",
    )
    traces: int = Field(60, ge=0, description="traces of each evaluation outside GRPO: answers for people to read")
    max_failed_call_share: float | None = Field(
        0.02,
        ge=0.0,
        le=1.0,
        description="an evaluation with a larger share of failed calls stops the run and is not kept; null keeps any",
    )
