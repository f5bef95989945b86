"""Learning curves of all of a study's training runs in one figure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pipelines.experiment.stage_names import GRPO
from pipelines.report.drawing import FigureSpec, Panel, panel_rows, percent_axis, smoothed
from pipelines.report.run.reading import RunReadError, RunRecords, read_run
from pipelines.report.theme import Theme

_PANELS = (("rollout/accuracy", "accuracy of rollouts"), ("rollout/call_ratio", "call ratio of rollouts"))
_STYLES = ("-", (0, (4, 2)), (0, (1, 1.5)))
_LEGEND_COLUMNS = 5


@dataclass(frozen=True, slots=True)
class TrainingRuns:
    """The runs that trained by GRPO, by the study's names, and remarks on the others.

    Runs that share their training are one entry, which has all their names.
    """

    runs: Mapping[str, RunRecords]
    remarks: tuple[str, ...]


def read_training_runs(directories: Mapping[str, Path]) -> TrainingRuns:
    """Return the runs with GRPO steps. A run that cannot be read becomes a remark."""
    found: dict[Path, tuple[list[str], RunRecords]] = {}
    remarks: list[str] = []
    for name, directory in directories.items():
        training = (directory / "stages" / GRPO).resolve()
        if training in found:
            found[training][0].append(name)
            continue
        try:
            run = read_run(directory)
        except RunReadError as error:
            remarks.append(f"Run {name} has no learning curve: {error}.")
            continue
        if any(row.stage == GRPO for row in run.rows):
            found[training] = ([name], run)
    return TrainingRuns({", ".join(names): run for names, run in found.values()}, tuple(remarks))


def draw_learning(training: TrainingRuns, theme: Theme) -> Figure | None:
    """Return accuracy and call ratio of the rollouts over GRPO steps, a line for each run; None without any."""
    lines = {
        metric: {name: series for name, run in training.runs.items() if (series := run.series(metric))[0].size}
        for metric, _ in _PANELS
    }
    names = list(training.runs)

    def panel(metric: str, title: str) -> Panel:
        def draw(axes: Axes) -> None:
            percent_axis(axes, title)
            for name, (steps, values) in lines[metric].items():
                place = names.index(name)
                axes.plot(
                    steps,
                    smoothed(values),
                    color=theme.kinds[place % len(theme.kinds)],
                    linestyle=_STYLES[place // len(theme.kinds) % len(_STYLES)],
                    linewidth=1.6,
                    marker="o" if steps.size < 2 else "",
                    label=name,
                )
            axes.set_ylim(0, min(max(axes.dataLim.y1 * 1.08, 0.01), 1.02))

        return draw

    figure = panel_rows([panel(metric, title) for metric, title in _PANELS if lines[metric]], height_in=3.6)
    if figure is None:
        return None
    handles = {
        text: handle for axes in figure.axes for handle, text in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    figure.legend(handles.values(), handles, loc="outside upper left", ncols=_LEGEND_COLUMNS, columnspacing=1.6)
    return figure


LEARNING = FigureSpec(
    "learning",
    "Learning curves",
    "Accuracy and call ratio of the rollouts in GRPO, smoothed by a moving average, for every run that trained. A run without "
    "calls has a call ratio of 0. Rollouts are on training problems, so do not compare the heights of runs on different data.",
    "no run has GRPO steps with rollout/accuracy or rollout/call_ratio",
    draw_learning,
)
