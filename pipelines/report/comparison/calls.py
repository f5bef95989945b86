"""How long calls are, where in the answer they are, and whether they are where they are needed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, to_rgb
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.typing import ColorType

from pipelines.analysis import systems
from pipelines.analysis.call_places import call_places
from pipelines.analysis.distributions import Counts, call_lengths, call_positions, calls_per_answer
from pipelines.analysis.results import SystemAnswers
from pipelines.data.chain_arithmetic.knowledge import knowledge_of
from pipelines.data.chain_arithmetic.task import chain_of
from pipelines.experiment.loading import ConfigError, load
from pipelines.experiment.schema import Experiment
from pipelines.records.answers import AnswerTable
from pipelines.report.comparison.compared import Comparison
from pipelines.report.comparison.labels import short_label
from pipelines.report.comparison.tables import DASH, Cell, Column, SystemTable, absent, system_row
from pipelines.report.drawing import WIDTH_IN, FigureSpec, Values
from pipelines.report.theme import Theme
from pipelines.wording import percent

_FINE = (0, 1, 2, 3, 4, 5, 6, 8, 10, 15, 20, 30, 50)
_COARSE = (0, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 20_000, 50_000)
_ROW_IN = 0.3


def callers(comparison: Comparison) -> tuple[str, ...]:
    """Return the relay systems with at least one call. CITER's calls are one token each, and no student asked for them."""
    found = comparison.results.systems
    return tuple(n for n in comparison.names if not systems.is_citer(n) and found[n].table.calls.any())


def draw_calls(comparison: Comparison, theme: Theme) -> Figure | None:
    """Return the distributions of requested and written tokens and of calls' places, a row for each system."""
    names = callers(comparison)
    if not names:
        return None
    tables = {name: comparison.results.systems[name].table for name in names}
    lengths = {name: call_lengths(table) for name, table in tables.items()}
    edges = _edges(max(max(counts.values) for one in lengths.values() for counts in (one.requested, one.written)))
    places = {name: call_positions(table) for name, table in tables.items()}
    tenths = [f"{round(100 * edge)}" for edge in next(iter(places.values())).edges[:-1]]
    height = _ROW_IN * len(names) + 1.1
    figure = Figure(figsize=(WIDTH_IN, height), layout=ConstrainedLayoutEngine(w_pad=0.06, h_pad=0.08))
    panels = figure.subplots(1, 3, sharey=True)

    def binned(counts: Callable[[str], Counts]) -> Values:
        return np.asarray([counts(name).binned(edges) for name in names], np.float64)

    _strips(panels[0], binned(lambda name: lengths[name].requested), _ranges(edges), "tokens asked for (n)", theme)
    _strips(panels[1], binned(lambda name: lengths[name].written), _ranges(edges), "tokens written", theme)
    _strips(panels[2], np.asarray([places[n].counts for n in names], np.float64), tenths, "place in the answer", theme)
    panels[0].set_yticks(range(len(names)), [short_label(name) for name in names])
    for axes, title in zip(panels, ("tokens", "tokens", "from this % of the answer on"), strict=True):
        axes.set_xlabel(title)
    return figure


CALLS = FigureSpec(
    "calls",
    "Lengths and places of calls",
    "Of each system's calls, the percentage in each column; a row adds up to 100. Left: how many tokens the student "
    "asked for; middle: how many the teacher wrote; right: where in the finished answer the call is.",
    "no system called the teacher",
    draw_calls,
)


def calls_table(comparison: Comparison) -> SystemTable:
    """Return calls per answer, and where they are, for each system that called."""
    found = comparison.results.systems
    rows = tuple(system_row(name, _cells(found[name], comparison)) for name in callers(comparison))
    return SystemTable(
        "call-counts",
        "Calls by answer, and calls where they are needed",
        "Cut calls brought less than they asked for. In chain arithmetic a call is needed right before a result that "
        "only the teacher knows. The columns on places of calls are shares. At need: calls right before such a result. Exact: calls "
        "at need that brought the result's two digits and no more. Covering: calls elsewhere that brought a whole such "
        "result. Results had: such results that the teacher wrote.",
        (("answers with so many calls", 4), ("calls", 2), ("places of calls", 4)),
        (
            Column("0"),
            Column("1"),
            Column("2"),
            Column("more"),
            Column("in all", starts_part=True),
            Column("cut"),
            Column("at need", starts_part=True),
            Column("exact"),
            Column("covering"),
            Column("results had"),
        ),
        rows,
        "" if rows else "Left out: no system called the teacher.",
    )


def _cells(system: SystemAnswers, comparison: Comparison) -> tuple[Cell, ...]:
    per_answer = calls_per_answer(system.table)
    answers = dict(zip(per_answer.values, per_answer.counts, strict=True))
    shares = [_share(answers.get(calls, 0), per_answer.total) for calls in range(3)]
    more = _share(sum(count for calls, count in answers.items() if calls > 2), per_answer.total)
    lengths = call_lengths(system.table)
    counts = (Cell(f"{lengths.requested.total:,}"), _share(lengths.cut, lengths.requested.total))
    return (*shares, more, *counts, *_places_of_calls(system, comparison))


def _places_of_calls(system: SystemAnswers, comparison: Comparison) -> tuple[Cell, ...]:
    if not _is_chain_arithmetic(system.table):
        return absent("not chain arithmetic", 4)
    directory = comparison.results.runs.get(system.run)
    if directory is None:
        return absent(f"the study has no run {system.run}", 4)
    try:
        models = load(directory / "experiment.yaml", (), Experiment).with_final_teacher().models
    except ConfigError as error:
        first = str(error).splitlines()[0].replace(f"{directory}/", "")
        return absent(f"run {system.run}: {first}", 4)
    student, teacher = models.student, models.teacher
    if student.pretrain is None:
        return absent("the student's vocabulary is not a tiny model's", 4)
    found = call_places(
        system.table,
        student.pretrain.command_tokens,
        knowledge_of("student", student.pretrain.skill),
        knowledge_of("teacher", teacher.pretrain.skill if teacher.pretrain else None),
    )
    return (
        DASH if found.precision is None else Cell(percent(found.precision)),
        _share(found.exact, found.calls),
        _share(found.covering, found.calls),
        DASH if found.recall is None else Cell(percent(found.recall)),
    )


def _is_chain_arithmetic(table: AnswerTable) -> bool:
    try:
        for question in np.unique(table.question):
            chain_of(str(question))
    except ValueError:
        return False
    return True


def _share(part: int, whole: int) -> Cell:
    return Cell(percent(part / whole)) if whole else DASH


def _edges(longest: int) -> list[int]:
    """Return where columns begin, and where the last one ends."""
    steps = _FINE if longest < _FINE[-1] else _COARSE
    used = [edge for edge in steps if edge <= longest]
    return [*used, min((edge for edge in steps if edge > longest), default=longest + 1)]


def _ranges(edges: Sequence[int]) -> list[str]:
    return [f"{low}" if high == low + 1 else f"{_thousands(low)}+" for low, high in pairwise(edges)]


def _thousands(number: int) -> str:
    return f"{number // 1000}k" if number >= 1000 else f"{number}"


def _strips(axes: Axes, counts: Values, columns: Sequence[str], title: str, theme: Theme) -> None:
    """Draw the shares of each row [systems, columns] as shades with their percentages."""
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    shades = LinearSegmentedColormap.from_list("shares", [theme.card, theme.relay])
    axes.imshow(shares, aspect="auto", cmap=shades, vmin=0, vmax=1)
    axes.grid(False)
    axes.set_title(title)
    axes.set_xticks(range(len(columns)), columns)
    if len(columns) > 8:
        axes.tick_params(axis="x", labelsize=7.5)
    for (row, column), share in np.ndenumerate(shares):
        if share > 0:
            text = f"{100 * share:.0f}" if share >= 0.005 else "·"
            ink = max((theme.ink, theme.card), key=lambda colour: _contrast(colour, shades(float(share))))
            axes.text(column, row, text, ha="center", va="center", fontsize=7.5, color=ink)
    axes.tick_params(axis="both", length=0)
    for edge in np.arange(len(shares) - 1) + 0.5:
        axes.axhline(edge, color=theme.line, linewidth=0.7)


def _contrast(first: ColorType, second: ColorType) -> float:
    """Return how much brighter one colour is than the other, from 1 to 21."""
    dark, bright = sorted(
        float(np.dot((0.2126, 0.7152, 0.0722), np.asarray(to_rgb(colour)) ** 2.2)) for colour in (first, second)
    )
    return (bright + 0.05) / (dark + 0.05)
