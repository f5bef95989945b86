"""The figures of a sweep: parallel coordinates, accuracy against call ratio, and the objective over the evaluations."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import log10

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from pipelines.analysis.sweep_results import State, SweepResults, SweepTrial
from pipelines.report.drawing import WIDTH_IN, FigureSpec, call_ratio_axis, legend_marker, percent_ticks
from pipelines.report.theme import Theme
from pipelines.wording import percent

_MARKERS = {State.FINISHED: "o", State.PRUNED: "X", State.FAILED: "P", State.INTERRUPTED: "D", State.RUNNING: "D"}
_DASHED, _DOTTED = (0, (4, 2)), (0, (1, 2))
_LABEL_SIZE = 8.5
_MOST_TICKS = 8

Place = Callable[[object], float]
"""from a value to its height on an axis, 0 to 1"""


def ink(state: State, theme: Theme) -> str:
    """Return the colour of a state's marks."""
    return {State.FINISHED: theme.relay, State.PRUNED: theme.teacher, State.FAILED: theme.bad}.get(state, theme.muted)


def draw_parallel(results: SweepResults, theme: Theme) -> Figure | None:
    """Return a line for each trial over the axes of all parameters; None if no trial has begun."""
    if not results.trials:
        return None
    figure = Figure(figsize=(WIDTH_IN, 4.6), layout=ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.1))
    axes = figure.subplots()
    places = [_axis(axes, column, key, results, theme) for column, key in enumerate(results.parameters)]
    objective = _objective_axis(axes, len(places), results, theme)
    shades = LinearSegmentedColormap.from_list("objective", [theme.faint, theme.student, theme.relay])
    for trial in sorted(results.trials, key=lambda one: one.objective.value if one.objective else -1.0):
        heights = [place(trial.values[key]) for place, key in zip(places, results.parameters, strict=True)]
        value = trial.objective
        if value is not None:
            heights.append(objective(value.value))
        finished = trial.state is State.FINISHED
        color = shades(objective(value.value)) if finished and value else ink(trial.state, theme)
        best = trial is results.best
        axes.plot(
            range(len(heights)),
            heights,
            color=color,
            linewidth=3.0 if best else 1.5,
            linestyle="-" if finished else _DOTTED if trial.state is State.PRUNED else _DASHED,
            marker=_MARKERS[trial.state],
            markevery=[-1],
            markersize=10 if best else 9 if trial.state is State.FAILED else 7,
            markeredgecolor=theme.card,
            markeredgewidth=0.6,
            zorder=8 if value is None else 4 if best else 3,
            clip_on=False,
        )
    axes.set_xlim(-0.15, len(places) + 0.25)
    axes.set_ylim(-0.06, 1.06)
    axes.grid(False)
    axes.set_yticks([])
    names = [key.replace(".", ".\n") if len(key) > 16 else key for key in results.parameters]
    axes.set_xticks(range(len(places) + 1), [*names, "accuracy\nwithin budget"])
    axes.tick_params(axis="x", length=0, pad=6)
    axes.spines["bottom"].set_visible(False)
    figure.legend(handles=_legend(results, theme), loc="outside upper left", ncols=4, columnspacing=1.8)
    return figure


def draw_plane(results: SweepResults, theme: Theme) -> Figure | None:
    """Return accuracy against call ratio of all trials that were evaluated; None if there is none."""
    shown = [trial for trial in results.trials if trial.objective]
    if not shown:
        return None
    figure = Figure(figsize=(WIDTH_IN, 4.8), layout=ConstrainedLayoutEngine(w_pad=0.08, h_pad=0.08))
    axes = figure.subplots()
    call_ratio_axis(axes)
    axes.grid(True, axis="both")
    axes.set_xlabel("call ratio (%, square-root scale): the share of output tokens that the teacher wrote")
    axes.set_ylabel("accuracy")
    for trial in shown:
        assert trial.objective is not None
        best = trial is results.best
        axes.plot(
            trial.objective.call_ratio,
            trial.objective.accuracy,
            color=ink(trial.state, theme),
            marker=_MARKERS[trial.state],
            markersize=11 if best else 8,
            markeredgecolor=theme.card,
            markeredgewidth=0.6,
            linestyle="",
            zorder=5,
            clip_on=False,
        )
    axes.set_xlim(0, min(2 * max(axes.dataLim.x1, results.budget), 1.1))
    low, high = axes.dataLim.y0, axes.dataLim.y1
    room = max(0.15 * (high - low), 0.03)
    axes.set_ylim(max(low - room, -0.02), min(high + room, 1.04))
    axes.yaxis.set_major_locator(MaxNLocator(nbins=7, steps=[1, 2, 5, 10]))
    axes.yaxis.set_major_formatter(percent_ticks)
    _number_labels(axes, shown, theme)
    _equal_lines(axes, results, theme)
    figure.legend(handles=_legend(results, theme), loc="outside upper left", ncols=5, columnspacing=1.8)
    return figure


def draw_iterations(results: SweepResults, theme: Theme) -> Figure | None:
    """Return the objective of each trial over its evaluations; None if no trial has more than one."""
    shown = [trial for trial in results.trials if trial.objectives]
    if not any(len(trial.objectives) > 1 for trial in shown):
        return None
    figure = Figure(figsize=(WIDTH_IN, 3.6), layout=ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.1))
    axes = figure.subplots()
    for trial in shown:
        values = [one.value for one in trial.objectives]
        axes.plot(
            range(1, len(values) + 1),
            values,
            color=ink(trial.state, theme),
            linewidth=2.6 if trial is results.best else 1.3,
            alpha=1.0 if trial is results.best else 0.8,
            marker=_MARKERS[trial.state],
            markevery=[-1],
            markersize=8,
            markeredgecolor=theme.card,
            markeredgewidth=0.6,
            clip_on=False,
        )
    axes.set_xlabel("evaluation of the relay student: within GRPO, and the final one last")
    axes.set_ylabel("accuracy within budget")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.yaxis.set_major_formatter(percent_ticks)
    figure.legend(handles=_legend(results, theme), loc="outside upper left", ncols=5, columnspacing=1.8)
    return figure


PARALLEL = FigureSpec(
    "parallel",
    "Parallel coordinates",
    "Each line is a trial, and goes through its values to what it reached. The thick line is the best trial. Trials that ended "
    "early are dotted and end at their last evaluation; failed ones are dashed, and end before the last axis if nothing of "
    "them was evaluated.",
    "no trial has begun",
    draw_parallel,
)
PLANE = FigureSpec(
    "plane",
    "Accuracy against call ratio",
    "Up is better, left is cheaper; the large mark is the best trial. Both are averages over the kinds of problem. The vertical line "
    "is the budget. Trials on one dashed curve have the same accuracy within the budget.",
    "no trial has been evaluated",
    draw_plane,
)
ITERATIONS = FigureSpec(
    "iterations",
    "Accuracy within the budget, evaluation by evaluation",
    "Evaluations within GRPO are on part of the problems, the last one of a finished trial is on all. A cross is where a trial "
    "was ended early.",
    "no trial has more than one evaluation",
    draw_iterations,
)


def _axis(axes: Axes, column: int, key: str, results: SweepResults, theme: Theme) -> Place:
    """Draw a parameter's axis with its values, and return where a value lies on it."""
    values = [trial.values[key] for trial in results.trials]
    if all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
        numbers = sorted({float(value) for value in values})
        scale: Callable[[float], float] = log10 if key in results.logarithmic or _spreads(numbers) else float
        low, high = scale(numbers[0]), scale(numbers[-1])

        def place(value: object) -> float:
            assert isinstance(value, int | float)
            return (scale(value) - low) / (high - low) if high > low else 0.5

        ticks = numbers if len(numbers) <= _MOST_TICKS else _between(numbers, low, high, scale is log10)
        marks = [(place(tick), f"{tick:.3g}") for tick in ticks]
    else:
        texts = sorted({_text(value) for value in values})

        def place(value: object) -> float:
            return texts.index(_text(value)) / (len(texts) - 1) if len(texts) > 1 else 0.5

        marks = [(place(text), text) for text in texts]
    _draw_axis(axes, column, marks, theme)
    return place


def _objective_axis(axes: Axes, column: int, results: SweepResults, theme: Theme) -> Callable[[float], float]:
    values = [trial.objective.value for trial in results.trials if trial.objective]
    low, high = (min(values), max(values)) if values else (0.0, 1.0)

    def place(value: float) -> float:
        return (value - low) / (high - low) if high > low else 0.5

    ticks = np.linspace(low, high, 5 if high > low else 1)
    _draw_axis(axes, column, [(place(float(tick)), percent(float(tick))) for tick in ticks], theme, "left")
    return place


def _draw_axis(axes: Axes, column: int, marks: Sequence[tuple[float, str]], theme: Theme, side: str = "right") -> None:
    axes.vlines(column, 0, 1, color=theme.muted, linewidth=1.0, zorder=1)
    offset, align = (6, "left") if side == "right" else (9, "left")
    for height, text in marks:
        axes.annotate(
            text,
            (column, height),
            xytext=(offset, 0),
            textcoords="offset points",
            ha=align,
            va="center",
            fontsize=_LABEL_SIZE,
            color=theme.ink,
            zorder=6,
            bbox={"facecolor": theme.card, "edgecolor": "none", "pad": 1.0, "alpha": 0.8},
        )


def _between(numbers: Sequence[float], low: float, high: float, logarithmic: bool) -> list[float]:
    places = np.linspace(low, high, 5)
    return [float(10**at) if logarithmic else float(at) for at in places]


def _spreads(numbers: Sequence[float]) -> bool:
    """Return whether the numbers need a logarithmic axis: all positive, over two powers of ten."""
    return numbers[0] > 0 and numbers[-1] / numbers[0] >= 100


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _number_labels(axes: Axes, shown: Sequence[SweepTrial], theme: Theme) -> None:
    for trial in shown:
        assert trial.objective is not None
        axes.annotate(
            str(trial.number),
            (trial.objective.call_ratio, trial.objective.accuracy),
            xytext=(7, 5),
            textcoords="offset points",
            fontsize=_LABEL_SIZE,
            color=theme.ink,
            zorder=6,
        )


def _equal_lines(axes: Axes, results: SweepResults, theme: Theme) -> None:
    """Draw the budget, and the curves of equal accuracy within it."""
    low, high = axes.get_ylim()
    axes.vlines(results.budget, low, high, color=theme.oracle, linewidth=1.4, zorder=2)
    ratios = np.linspace(results.budget, 1.0, 100)
    for value in MaxNLocator(nbins=4, steps=[1, 2, 5, 10]).tick_values(max(low, 0.0), high):
        axes.plot(
            [0.0, *ratios],
            [value, *(value * ratios / results.budget)],
            color=theme.faint,
            linewidth=1.0,
            linestyle=_DASHED,
            zorder=1,
        )


def _legend(results: SweepResults, theme: Theme) -> list[Line2D]:
    states = [state for state in State if results.of(state)]
    return [
        legend_marker(ink(state, theme), _MARKERS[state], f"{state.value} ({len(results.of(state))})")
        for state in states
    ]
