"""The alarms: conditions of a run that a person should look at. One registry for terminal, report, W&B and alarms.jsonl."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Literal, TypeAlias

from pydantic import Field

from cluster.settings import Settings
from pipelines.wording import percent

Threshold: TypeAlias = Annotated[float, Field(ge=0.0, allow_inf_nan=False)] | None
"""null switches the alarm off"""


class AlarmSettings(Settings):
    """The threshold of each alarm; null switches one off. docs/troubleshooting.md has a paragraph on each."""

    cut_off: Threshold = Field(0.1, description="share of answers that end at a limit")
    calls_vanish: Threshold = Field(0.02, description="share of answers with a call: raised below it")
    calls_everywhere: Threshold = Field(0.98, description="share of answers with a call: raised above it")
    call_length: Threshold = Field(4.0, description="n of a call, as a multiple of its lowest level so far in training")
    entropy_collapse: Threshold = Field(0.003, description="nats per token: raised below it")
    logprob_gap: Threshold = Field(0.1, description="nats between the engine's and the learner's log-probs")
    no_advantage: Threshold = Field(0.95, description="share of groups that teach nothing")
    failed_calls: Threshold = Field(0.02, description="share of calls that failed")
    malformed_commands: Threshold = Field(0.2, description="malformed commands per answer")
    non_finite_steps: Threshold = Field(0.0, description="optimizer steps left out in one GRPO step")
    teacher_seldom_right: Threshold = Field(
        0.6, description="the teacher's pass rate on the problems that the filter kept: raised below it"
    )
    actor_memory: Threshold = Field(0.9, description="share of a node's memory that is used; Ray ends an actor at 0.95")
    accuracy_fall: Threshold = Field(0.05, description="loss of accuracy on any kind of problem")


@dataclass(frozen=True, slots=True)
class Alarm:
    """What an alarm watches, what it means and what to do. Its threshold is the setting with the same name."""

    name: str
    metric: str | None
    """the metric of `pipelines.records.metrics.METRICS` that it watches; None if it watches evaluations only"""
    quantity: str
    """the words that follow the number in a message"""
    meaning: str
    remedy: str
    shown_as: Literal["percent", "points", "number"] = "number"
    below: bool = False
    """raised when the number is below the threshold, not above it"""
    steps: int = 1
    """for how many steps in a row the condition must hold; steps without a number do not count"""
    evaluation: Literal["cut_off_share", "with_call_share", "failed_call_share", "accuracy"] | None = None
    """the field of an evaluation that it watches too"""
    by_kind: bool = False
    """in an evaluation, the worst kind of problem counts instead of all problems together"""
    relative: bool = False
    """the number is the metric divided by its lowest mean over five steps in a row so far; steps where it is 0 do not count"""

    def condition(self, threshold: float, in_evaluation: bool = False) -> str:
        """Return when the alarm is raised, such as `below 0.003 for 5 steps in a row`."""
        steps = "steps in a row, those at 0 left out" if self.relative else "steps in a row"
        in_a_row = f" for {self.steps} {steps}" if self.steps > 1 and not in_evaluation else ""
        return f"{'below' if self.below else 'above'} {self.shown(threshold)}{in_a_row}"

    def crossed(self, value: float, threshold: float) -> bool:
        return value < threshold if self.below else value > threshold

    def shown(self, value: float) -> str:
        """Return a number as text for a message."""
        match self.shown_as:
            case "percent":
                return percent(value)
            case "points":
                return f"{100 * value:.1f} points"
        return f"{value:.3g}"


_ALARMS = (
    Alarm(
        name="cut_off",
        metric="rollout/cut_off_share",
        evaluation="cut_off_share",
        by_kind=True,
        quantity="answers that end at a limit",
        shown_as="percent",
        steps=5,
        meaning="Answers end at the token or context limit and not by an end of text. They count as wrong by default, "
        "whatever they say.",
        remedy="Read such an answer in the report. If the student repeats itself, keep reward.cut_off at wrong. If it is "
        "still solving the problem, raise grpo.limits.max_new_tokens and evaluation.limits.max_new_tokens.",
    ),
    Alarm(
        name="calls_vanish",
        metric="rollout/with_call_share",
        evaluation="with_call_share",
        quantity="answers with a call",
        shown_as="percent",
        below=True,
        steps=5,
        meaning="The student has stopped calling the teacher, so GRPO has no calls left to reward.",
        remedy="Lengthen the warm-up (warmup.samples, warmup.copies), raise reward.exploration_weight, lower "
        "grpo.optimizer.lr, or check that the student cannot solve the problems alone.",
    ),
    Alarm(
        name="calls_everywhere",
        metric="rollout/with_call_share",
        evaluation="with_call_share",
        quantity="answers with a call",
        shown_as="percent",
        steps=20,
        meaning="The student calls the teacher in every answer, also where it needs no help.",
        remedy="Train on problems that the student solves alone too, keep reward.independence_bonus above 1, and lower "
        "reward.exploration_weight.",
    ),
    Alarm(
        name="call_length",
        metric="rollout/requested_mean",
        quantity="times the lowest n that calls have asked for",
        steps=5,
        relative=True,
        meaning="Calls ask for ever more tokens: the student hands over the answer instead of asking for a hint.",
        remedy="Also look at rollout/call_ratio. Lower reward.exploration_weight, narrow warmup.exponents, or fix the "
        "length with grpo.limits.call_tokens.",
    ),
    Alarm(
        name="entropy_collapse",
        metric="learner/entropy",
        quantity="nats of entropy per token",
        below=True,
        steps=5,
        meaning="The student writes nearly the same tokens every time: the samples of a group are alike, and nothing new "
        "is tried.",
        remedy="Stop earlier, lower grpo.optimizer.lr, raise grpo.loss.clip_high or grpo.loss.kl_coefficient, or take "
        "harder problems. For tiny models on tiny tasks this can be normal: then lower the threshold.",
    ),
    Alarm(
        name="logprob_gap",
        metric="learner/logprob_gap",
        quantity="nats between engine and learner",
        steps=3,
        meaning="Engine and learner disagree on the probability of the same tokens, so importance ratios are wrong.",
        remedy="Use one dtype for rollout.engine.dtype and learner.dtype, set grpo.loss.tis_cap, and lower "
        "grpo.async_depth. If it is large from the first step on, the engines do not have the learner's weights.",
    ),
    Alarm(
        name="no_advantage",
        metric="reward/zero_advantage_group_share",
        quantity="groups of equal rewards",
        shown_as="percent",
        steps=10,
        meaning="Nearly all groups have equal rewards, so steps cost time and teach nothing.",
        remedy="Take problems that are sometimes solved and sometimes missed, raise grpo.group_size or "
        "grpo.sampling.temperature, or stop: the student may have learned what there is.",
    ),
    Alarm(
        name="failed_calls",
        metric="rollout/failed_call_share",
        evaluation="failed_call_share",
        quantity="calls that failed",
        shown_as="percent",
        steps=3,
        meaning="The teacher fails, or does not answer within its deadline. Such answers are not trained on, and lower "
        "the accuracy of an evaluation.",
        remedy="Read the teacher's log. If it is slow, raise grpo.limits.teacher_timeout_s and "
        "evaluation.limits.teacher_timeout_s, or lower rollout.sequences_in_flight.",
    ),
    Alarm(
        name="malformed_commands",
        metric="rollout/malformed_per_sample",
        quantity="malformed commands per answer",
        steps=5,
        meaning="The student writes commands without a readable n, which are not executed.",
        remedy="Lengthen the warm-up (warmup.samples, warmup.epochs), which teaches the syntax.",
    ),
    Alarm(
        name="non_finite_steps",
        metric="learner/non_finite_steps",
        quantity="optimizer steps left out",
        meaning="Gradients were not finite. The steps were left out: nothing was learned from them.",
        remedy="Lower grpo.optimizer.lr, use bfloat16 or float32 in learner.dtype, and look at rewards and log-probs of "
        "that step.",
    ),
    Alarm(
        name="teacher_seldom_right",
        metric="filter/kept_pass_rate",
        quantity="of the teacher's answers to kept problems are right",
        shown_as="percent",
        below=True,
        meaning="The teacher often misses the problems that are trained on, so its calls are rewarded by luck.",
        remedy="Raise filter.min_pass_rate or filter.samples, take a stronger teacher, or check that its answers are not "
        "cut off and are graded rightly.",
    ),
    Alarm(
        name="actor_memory",
        metric="memory/node_used_share",
        quantity="of a node's memory in use",
        shown_as="percent",
        meaning="A node is nearly out of memory. Ray then ends actors on it. They start again and lose their current work.",
        remedy="Find the actor that grew: see memory/… in metrics.jsonl. Lower its engine.kv_cache_gib, "
        "learner.max_tokens_per_micro_batch or rollout.sequences_in_flight, or use a larger node.",
    ),
    Alarm(
        name="accuracy_fall",
        metric=None,
        evaluation="accuracy",
        by_kind=True,
        quantity="of accuracy lost",
        shown_as="points",
        meaning="Accuracy on some kind of problem fell by more than chance explains. It is compared with the best earlier "
        "evaluation, the student before training included.",
        remedy="Compare the answers of both evaluations in the report. Look at cut_off first; else train on that kind "
        "too, lower the learning rates, or raise grpo.loss.kl_coefficient.",
    ),
)
ALARMS: dict[str, Alarm] = {alarm.name: alarm for alarm in _ALARMS}
"""by name, in the order in which they are shown"""


@dataclass(frozen=True, slots=True)
class AlarmEvent:
    """An alarm that began, ended, or went on in another evaluation: a line of alarms.jsonl."""

    event: Literal["began", "continued", "ended"]
    alarm: str
    where: str
    """what was watched: a stage, or the evaluations of a policy, as in `evaluation of relay`"""
    step: int
    value: float
    threshold: float
    detail: str = ""
    """more about the number, as in `known: 64.0 % after 100 %`"""
    name: str | None = None
    """the evaluation's name; None for a step of training"""
    since: str | None = None
    """the name of the evaluation in which the alarm began, if that was an earlier one"""

    @property
    def at(self) -> str:
        """When this happened: the evaluation's name, or the step."""
        return self.name or f"step {self.step}"

    @property
    def key(self) -> tuple[str, str]:
        """Identifies the alarm among all that are open at the same time."""
        return self.alarm, self.where


def event_text(event: AlarmEvent) -> str:
    """Return one line for logs: the number, where it was found, and the alarm's condition."""
    alarm = ALARMS[event.alarm]
    at = f"{event.where}, {event.at}"
    number = f"{alarm.shown(event.value)} {alarm.quantity}" + (f" ({event.detail})" if event.detail else "")
    if event.event == "ended":
        return f"alarm {event.alarm} ended ({at}): {number}"
    condition = alarm.condition(event.threshold, in_evaluation=event.name is not None)
    return f"alarm {event.alarm} ({at}): {number}; the alarm is {condition}"


def open_alarms(events: Iterable[AlarmEvent]) -> list[AlarmEvent]:
    """Return the last event of each alarm that has not ended, in the order of the registry."""
    found: dict[tuple[str, str], AlarmEvent] = {}
    for event in events:
        if event.event == "ended":
            found.pop(event.key, None)
        else:
            found[event.key] = event
    order = list(ALARMS)
    return sorted(found.values(), key=lambda event: order.index(event.alarm))
