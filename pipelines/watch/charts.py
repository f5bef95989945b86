"""The curves of a run on the page, and the numbers of its row: which metric, in which words, in which colour."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pipelines.experiment.stage_names import GRPO, WARMUP


@dataclass(frozen=True, slots=True)
class Line:
    """One curve of a chart; its colour is one of the page's."""

    metric: str
    label: str
    colour: str


@dataclass(frozen=True, slots=True)
class Chart:
    """Curves that share their axes."""

    name: str
    title: str
    unit: str
    """of the y axis, as in `pipelines.records.metrics.METRICS`"""
    lines: tuple[Line, ...]
    stage: str = GRPO
    form: Literal["lines", "stack"] = "lines"
    alarms: tuple[str, ...] = ()
    """alarms whose threshold is drawn"""
    evaluated: Literal["accuracy", "call_ratio"] | None = None
    """the field of evaluations that is drawn as points"""

    @property
    def step_name(self) -> str:
        return "GRPO step" if self.stage == GRPO else "optimizer step"


CHARTS = (
    Chart(
        "accuracy",
        "Accuracy",
        "share",
        (Line("rollout/accuracy", "rollouts", "student"),),
        evaluated="accuracy",
    ),
    Chart(
        "call_ratio",
        "Call ratio: tokens that the teacher wrote",
        "share",
        (Line("rollout/call_ratio", "rollouts", "teacher"),),
        evaluated="call_ratio",
    ),
    Chart(
        "trouble",
        "Answers cut off, calls failed",
        "share",
        (
            Line("rollout/cut_off_share", "answers cut off at a limit", "bad"),
            Line("rollout/failed_call_share", "calls that failed", "oracle"),
        ),
        alarms=("cut_off", "failed_calls"),
    ),
    Chart("reward", "Mean reward", "1", (Line("reward/mean", "reward", "relay"),)),
    Chart(
        "call_length",
        "Length of a call",
        "tokens",
        (
            Line("rollout/requested_mean", "asked for", "relay"),
            Line("rollout/written_mean", "written", "teacher"),
        ),
    ),
    Chart(
        "calls",
        "Calls in an answer",
        "calls",
        (
            Line("rollout/calls_per_sample", "executed calls", "relay"),
            Line("rollout/malformed_per_sample", "malformed commands", "bad"),
        ),
        alarms=("malformed_commands",),
    ),
    Chart(
        "scenarios",
        "Groups by scenario",
        "share",
        (
            Line("rollout/scenario_student_solvable_share", "student-solvable", "student"),
            Line("rollout/scenario_teacher_dependent_share", "teacher-dependent", "teacher"),
            Line("rollout/scenario_teacher_unsolvable_share", "teacher-unsolvable", "faint"),
        ),
        form="stack",
    ),
    Chart(
        "no_advantage",
        "Groups that teach nothing",
        "share",
        (Line("reward/zero_advantage_group_share", "groups of equal rewards", "student"),),
        alarms=("no_advantage",),
    ),
    Chart(
        "entropy", "Entropy", "nats", (Line("learner/entropy", "per token", "student"),), alarms=("entropy_collapse",)
    ),
    Chart("kl", "KL to the warm-up policy", "nats", (Line("learner/kl", "per token", "student"),)),
    Chart(
        "logprob_gap",
        "Log-prob gap of engine and learner",
        "nats",
        (Line("learner/logprob_gap", "per token", "student"),),
        alarms=("logprob_gap",),
    ),
    Chart(
        "phases",
        "Where a step's time goes",
        "s",
        (
            Line("time/rollout_s", "rollout", "student"),
            Line("time/sleep_s", "engines fall asleep", "oracle"),
            Line("time/learn_s", "learn", "relay"),
            Line("time/sync_s", "weight sync", "teacher"),
        ),
        form="stack",
    ),
    Chart(
        "speed",
        "Speed",
        "tokens/s",
        (
            Line("speed/rollout_tokens_per_s", "rollout", "student"),
            Line("speed/learner_tokens_per_s", "learner", "relay"),
        ),
    ),
    Chart(
        "memory",
        "Memory of the fullest node",
        "share",
        (Line("memory/node_used_share", "in use", "student"),),
        alarms=("actor_memory",),
    ),
    Chart("warmup", "Warm-up: loss", "nats", (Line("learner/loss", "loss", "student"),), stage=WARMUP),
)

STEP_TIME = "time/step_s"
KEPT = frozenset({(chart.stage, line.metric) for chart in CHARTS for line in chart.lines} | {(GRPO, STEP_TIME)})
"""stage and metric of all numbers that are kept"""


@dataclass(frozen=True, slots=True)
class Number:
    """A number of a run's row, with a sparkline."""

    name: str
    title: str
    unit: str
    metric: str
    evaluated: Literal["accuracy", "call_ratio", "cut_off_share", "failed_call_share"] | None = None
    """the field of the last evaluation: it counts where no rollout has the number yet, and at the end of the run"""
    alarm: str | None = None
    """the number is bad beyond this alarm's threshold"""


NUMBERS = (
    Number("accuracy", "accuracy", "share", "rollout/accuracy", "accuracy"),
    Number("call_ratio", "call ratio", "share", "rollout/call_ratio", "call_ratio"),
    Number("cut_off", "cut off", "share", "rollout/cut_off_share", "cut_off_share", "cut_off"),
    Number("failed_calls", "failed calls", "share", "rollout/failed_call_share", "failed_call_share", "failed_calls"),
    Number("speed", "speed", "tokens/s", "speed/rollout_tokens_per_s"),
)
