"""The report's figures: each function draws one from a run, or returns None if the run has no data for it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from pipelines.experiment.stage_names import BASE, GRPO, PolicyName
from pipelines.records.evaluations import ALL, Evaluation
from pipelines.report.drawing import (
    SMOOTH_FROM_POINTS,
    FigureSpec,
    Panel,
    legend_above,
    panel_rows,
    percent_axis,
    smoothed,
    trend,
)
from pipelines.report.kinds import kind_label
from pipelines.report.run.frontier import draw_frontier
from pipelines.report.run.reading import RunRecords, oracle_of
from pipelines.report.theme import Theme


def draw_learning(run: RunRecords, theme: Theme) -> Figure | None:
    """Draw accuracy and call ratio over training, of rollouts (line) and evaluations (points), with the oracle's ratio."""
    policy = _policy_followed(run)

    def accuracy(axes: Axes) -> None:
        percent_axis(axes, "accuracy")
        axes.set_ylim(-0.03, 1.05)
        trend(axes, run.series("rollout/accuracy"), theme.faint, "rollouts")
        for kind in run.kinds:
            _evaluation_line(axes, run.evaluated(policy, kind), "accuracy", theme, _kind_color(run, kind, theme), kind)

    def call_ratio(axes: Axes) -> None:
        percent_axis(axes, "call ratio")
        trend(axes, run.series("rollout/call_ratio"), theme.faint, "rollouts")
        for kind in run.kinds:
            evaluations = run.evaluated(policy, kind)
            color = _kind_color(run, kind, theme)
            _evaluation_line(axes, evaluations, "call_ratio", theme, color, kind)
            oracle = oracle_of(evaluations)
            if oracle is not None and oracle.oracle_call_ratio is not None:
                axes.axhline(oracle.oracle_call_ratio, color=color, linewidth=1.1, linestyle=(0, (4, 3)), alpha=0.85)
        axes.set_ylim(0, max(axes.dataLim.y1 * 1.08, 0.01))

    panels: list[Panel] = []
    if run.evaluations or _has(run, "rollout/accuracy"):
        panels.append(accuracy)
    if any(e.policy == "relay" for e in run.evaluations) or _has(run, "rollout/call_ratio"):
        panels.append(call_ratio)
    figure = panel_rows(panels)
    if figure is None:
        return None
    handles, labels = figure.axes[0].get_legend_handles_labels()
    if any(oracle_of(run.evaluated(policy, kind)) for kind in run.kinds):
        handles.append(Line2D([], [], color=theme.muted, linewidth=1.1, linestyle=(0, (4, 3))))
        labels.append("oracle's call ratio")
    figure.legend(handles, labels, loc="outside upper left", ncols=min(len(labels), 8), columnspacing=1.6)
    return figure


def draw_calls(run: RunRecords, theme: Theme) -> Figure | None:
    """Draw tokens asked for and written per call, and calls and malformed commands per sample."""
    return panel_rows(
        [
            *_lines(
                run,
                "tokens per call",
                [
                    ("rollout/requested_mean", "requested", theme.relay),
                    ("rollout/written_mean", "written", theme.teacher),
                ],
            ),
            *_lines(
                run,
                "per sample",
                [
                    ("rollout/calls_per_sample", "calls", theme.relay),
                    ("rollout/malformed_per_sample", "malformed commands", theme.bad),
                ],
            ),
        ]
    )


def draw_reward(run: RunRecords, theme: Theme) -> Figure | None:
    """Draw the shares of the three scenarios among groups, and the mean reward (paper section 2.3)."""
    scenarios = [
        ("rollout/scenario_student_solvable_share", "student-solvable", theme.student),
        ("rollout/scenario_teacher_dependent_share", "dependent", theme.teacher),
        ("rollout/scenario_teacher_unsolvable_share", "unsolvable", theme.faint),
    ]

    def shares(axes: Axes) -> None:
        percent_axis(axes, "groups")
        _stack(axes, run, scenarios, smooth=True)
        axes.set_ylim(0, 1)

    panels: list[Panel] = [shares] if any(_has(run, metric) for metric, _, _ in scenarios) else []
    return panel_rows([*panels, *_lines(run, "mean reward", [("reward/mean", "", theme.relay)])])


def draw_learner(run: RunRecords, theme: Theme) -> Figure | None:
    """Draw KL, entropy, clip fraction, log-prob gap, loss and gradient norm of the learner, a panel each."""
    metrics = [
        ("learner/kl", "KL to the warm-up policy (nats per token)"),
        ("learner/entropy", "entropy (nats per token)"),
        ("learner/clip_fraction", "clip fraction"),
        ("learner/logprob_gap", "log-prob gap, sampler to learner (nats)"),
        ("learner/loss", "loss"),
        ("learner/grad_norm", "gradient norm"),
    ]
    return panel_rows(
        [panel for metric, title in metrics for panel in _lines(run, title, [(metric, "", theme.student)])], 3, 2.2
    )


def draw_supervised(run: RunRecords, theme: Theme) -> Figure | None:
    """Draw the loss of each stage before GRPO, a panel each."""
    stages = [stage for stage in run.stages if stage != GRPO and run.series("learner/loss", stage)[0].size]

    def panel(stage: str) -> Panel:
        def draw(axes: Axes) -> None:
            axes.set_title(f"{stage}: loss")
            axes.set_xlabel("optimizer step")
            axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
            trend(axes, run.series("learner/loss", stage), theme.student)

        return draw

    return panel_rows([panel(stage) for stage in stages], min(3, len(stages)), 2.6)


def draw_speed(run: RunRecords, theme: Theme) -> Figure | None:
    """Draw the seconds of each phase, stacked under the step's wall time, and tokens per second of rollout and learner."""
    phases = [
        ("time/rollout_s", "rollout", theme.student),
        ("time/sleep_s", "engines fall asleep", theme.oracle),
        ("time/learn_s", "learn", theme.relay),
        ("time/sync_s", "weight sync", theme.teacher),
    ]

    def time(axes: Axes) -> None:
        axes.set_title("seconds per step")
        _stack(axes, run, phases)
        steps, wall = run.series("time/step_s")
        if steps.size:
            axes.plot(steps, wall, color=theme.ink, linewidth=1.0, label="step, wall clock")
            legend_above(axes)
        axes.set_ylim(bottom=0)

    has_time = any(_has(run, metric) for metric in ("time/step_s", *(metric for metric, _, _ in phases)))
    speeds = [
        ("speed/rollout_tokens_per_s", "rollout", theme.student),
        ("speed/learner_tokens_per_s", "learner", theme.relay),
    ]
    return panel_rows([*([time] if has_time else []), *_lines(run, "tokens per second", speeds)])


FIGURES: tuple[FigureSpec[RunRecords], ...] = (
    FigureSpec(
        "frontier",
        "Accuracy against call ratio",
        "Up is better, left is cheaper. The call ratio is the share of output tokens that the teacher wrote. "
        "Hollow: the first evaluation; filled: the last, with its 95 % confidence interval. "
        "Star: the best policy there can be. Random routing gives each problem as a whole to the teacher or to the student.",
        "no evaluation of the relay or the teacher",
        draw_frontier,
    ),
    FigureSpec(
        "learning",
        "Learning",
        "Grey: the training rollouts, thin as logged and thick smoothed; they are of the problems that the filter kept, which the "
        "teacher can solve, and so may lie above the evaluations. Points: evaluations, with 95 % confidence "
        "intervals; the one at step 0 follows warm-up.",
        "no evaluations, and no rollout/accuracy or rollout/call_ratio of GRPO steps",
        draw_learning,
    ),
    FigureSpec(
        "calls",
        "Calls",
        "How much the student asks for, what the teacher then writes, and how often it asks.",
        "no rollout/requested_mean, rollout/written_mean or rollout/calls_per_sample",
        draw_calls,
    ),
    FigureSpec(
        "reward",
        "Scenarios and reward",
        "A prompt's group is student-solvable, teacher-dependent or teacher-unsolvable; the reward depends on which.",
        "no rollout/scenario_… shares and no reward/mean",
        draw_reward,
    ),
    FigureSpec(
        "learner",
        "Learner health",
        "A growing log-prob gap means that sampler and learner disagree on the policy; watch it before anything else.",
        "no learner metrics of GRPO steps",
        draw_learner,
    ),
    FigureSpec(
        "supervised",
        "Supervised stages",
        "The loss of the stages before GRPO.",
        "no learner/loss of a stage before GRPO",
        draw_supervised,
    ),
    FigureSpec(
        "speed",
        "Time and throughput",
        "Phases that overlap stack higher than the step's wall clock.",
        "no time/… or speed/… metrics",
        draw_speed,
    ),
)


def _evaluation_line(
    axes: Axes, evaluations: Sequence[Evaluation], field: str, theme: Theme, color: str, kind: str
) -> None:
    shown = [e for e in evaluations if e.name != BASE] or list(evaluations)
    if not shown:
        return
    steps = [evaluation.step for evaluation in shown]
    values = [getattr(evaluation, field) for evaluation in shown]
    label = kind_label(kind)
    axes.plot(steps, values, color=color, linewidth=1.2, alpha=0.55, zorder=4)
    axes.plot(
        steps,
        values,
        color=color,
        marker="o",
        markersize=5,
        linestyle="",
        label=label,
        zorder=5,
        markeredgecolor=theme.card,
    )
    if field == "accuracy":
        lows, highs = zip(*(evaluation.accuracy_ci95 for evaluation in shown), strict=True)
        axes.vlines(steps, lows, highs, color=color, linewidth=1.0, alpha=0.6, zorder=4)


def _lines(run: RunRecords, title: str, lines: Sequence[tuple[str, str, str]]) -> list[Panel]:
    """Return a panel with those (metric, label, colour) lines for which the run has data; no panel without any."""
    present = [line for line in lines if _has(run, line[0])]

    def draw(axes: Axes) -> None:
        axes.set_title(title)
        for metric, label, color in present:
            trend(axes, run.series(metric), color, label)
        if any(label for _, label, _ in present):
            legend_above(axes)

    return [draw] if present else []


def _stack(axes: Axes, run: RunRecords, parts: Sequence[tuple[str, str, str]], smooth: bool = False) -> None:
    """Draw stacked areas of (metric, label, colour). A step without a metric counts as zero."""
    series = [(dict(zip(*run.series(metric), strict=True)), label, color) for metric, label, color in parts]
    steps = sorted({step for values, _, _ in series for step in values})
    bottom = np.zeros(len(steps))
    for values, label, color in series:
        if not values:
            continue
        height = np.asarray([values.get(step, 0.0) for step in steps])
        top = bottom + (smoothed(height) if smooth and len(steps) >= SMOOTH_FROM_POINTS else height)
        if len(steps) == 1:
            axes.bar(steps, top - bottom, bottom=bottom, color=color, width=0.5, label=label)
        else:
            axes.fill_between(steps, bottom, top, color=color, alpha=0.85, linewidth=0, label=label)
        bottom = top
    legend_above(axes)


def _kind_color(run: RunRecords, kind: str, theme: Theme) -> str:
    return theme.ink if kind == ALL else theme.kinds[run.kinds.index(kind) % len(theme.kinds)]


def _policy_followed(run: RunRecords) -> PolicyName:
    return "relay" if any(e.policy == "relay" for e in run.evaluations) else "student"


def _has(run: RunRecords, metric: str) -> bool:
    return bool(run.series(metric)[0].size)
