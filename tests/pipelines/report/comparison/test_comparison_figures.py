"""The comparison's figures, and where its calls stand."""

from __future__ import annotations

import shutil
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text

from pipelines.analysis.bootstrap import AVERAGE
from pipelines.analysis.call_places import call_places
from pipelines.analysis.results import StudyResults
from pipelines.report.comparison.calls import calls_table, draw_calls
from pipelines.report.comparison.compared import Comparison, compare
from pipelines.report.comparison.label_places import Label, place_labels
from pipelines.report.comparison.learning import draw_learning, read_training_runs
from pipelines.report.comparison.plane import draw_plane
from pipelines.report.theme import LIGHT


@pytest.fixture(scope="module")
def comparison(results: StudyResults) -> Comparison:
    return compare(results, 50)


def test_plane_has_every_system_where_the_analysis_puts_it(comparison: Comparison) -> None:
    figure = draw_plane(comparison, LIGHT)
    assert figure is not None
    marks = {tuple(line.get_xydata()[0]) for line in figure.axes[0].lines if len(line.get_xydata()) == 1}
    for name in comparison.names:
        replicates = comparison.main.replicates[name]
        ratio = replicates.estimate(AVERAGE, lambda means: means.call_ratio).value
        assert (ratio, replicates.estimate(AVERAGE, lambda means: means.accuracy).value) in marks
    assert (0.02, 0.9) in marks
    assert len(marks) == len(comparison.names) + 2


def test_plane_draws_the_router_from_the_base_student_to_the_teacher(comparison: Comparison) -> None:
    figure = draw_plane(comparison, LIGHT)
    assert figure is not None
    ends = [
        comparison.main.replicates[name].estimate(AVERAGE, lambda means: means.accuracy).value
        for name in ("base", "teacher")
    ]
    curves = [line.get_xydata() for line in figure.axes[0].lines if len(line.get_xydata()) > 50]
    assert len(curves) == 2
    for curve in curves:
        assert curve[[0, -1]] == pytest.approx(np.asarray([[0.0, ends[0]], [1.0, ends[1]]]))


def test_without_an_oracle_of_every_kind_there_is_no_star(results: StudyResults) -> None:
    figure = draw_plane(compare(replace(results, oracle={"all": results.oracle["all"]}), 50), LIGHT)
    assert figure is not None
    assert all(line.get_marker() != "*" for line in figure.axes[0].lines)


def test_labels_of_crowded_marks_do_not_overlap() -> None:
    figure = Figure(figsize=(10, 6))
    axes = figure.subplots()
    axes.set(xlim=(0, 1), ylim=(0, 1))
    random = np.random.default_rng(0)
    points = 0.4 + 0.2 * random.random((12, 2))
    labels = [Label(x, y, f"a system {i}", "#000000") for i, (x, y) in enumerate(points.tolist())]
    place_labels(axes, labels, 8.5, np.empty((0, 2)))
    renderer = FigureCanvasAgg(figure).get_renderer()
    figure.draw_without_rendering()
    extents = [Text.get_window_extent(text, renderer) for text in axes.texts]
    assert len(extents) == 12
    assert not [pair for pair in combinations(extents, 2) if pair[0].overlaps(pair[1])]


def test_rows_of_call_lengths_are_shares_of_a_systems_calls(comparison: Comparison) -> None:
    figure = draw_calls(comparison, LIGHT)
    assert figure is not None
    names = [text.get_text() for text in figure.axes[0].get_yticklabels()]
    assert names == ["relay", "short calls"]
    for axes in figure.axes:
        assert np.asarray(axes.images[0].get_array()).sum(axis=1) == pytest.approx([1.0, 1.0])


def test_learning_curves_leave_out_runs_without_grpo(results: StudyResults, tmp_path: Path) -> None:
    training = read_training_runs({**results.runs, "lost": tmp_path})
    assert set(training.runs) == {"grpo", "relay"}
    assert training.remarks[0].startswith("Run lost has no learning curve")
    figure = draw_learning(training, LIGHT)
    assert figure is not None
    assert [{line.get_label() for line in axes.lines} for axes in figure.axes] == [{"grpo", "relay"}] * 2


def test_runs_that_share_their_training_are_one_learning_curve(results: StudyResults, tmp_path: Path) -> None:
    twin = tmp_path / "twin"
    shutil.copytree(results.runs["relay"], twin)
    for directory in (results.runs["relay"], twin):
        (directory / "stages" / "grpo").symlink_to(tmp_path / "shared")
    training = read_training_runs({**results.runs, "twin": twin})
    (results.runs["relay"] / "stages" / "grpo").unlink()
    assert set(training.runs) == {"grpo", "relay, twin"}


def test_places_of_calls_are_those_of_the_analysis(results: StudyResults, table_of, tmp_path: Path) -> None:
    calls = {"calls": [(13, 2, 2, 20, 0)], "output_tokens": 30}
    texts = ("12*03=<call>2</call>36;\\boxed{36}", "12+03=<call>2</call>15;\\boxed{15}")
    table = table_of([{"question": text[:5], "text": text, **calls} for text in texts])
    demo = Path(__file__).parents[4] / "experiments" / "demo.yaml"
    (tmp_path / "experiment.yaml").write_bytes(demo.read_bytes())
    system = replace(results.systems["relay"], table=table)
    study = replace(results, systems={"relay": system}, runs={"relay": tmp_path})
    found = call_places(table, "text")
    cells = [cell.text for cell in calls_table(compare(study, 50)).rows[0].cells]
    assert found.precision == 0.5
    assert cells[6:] == ["50.0\u00a0%", "50.0\u00a0%", "0.0\u00a0%", "100\u00a0%"]


def test_places_of_calls_are_left_out_with_a_reason(comparison: Comparison, results: StudyResults, table_of) -> None:
    system = replace(results.systems["relay"], table=table_of([{"question": "12*03", "calls": [(0, 1, 1, 1, 1)]}]))
    chain = compare(replace(results, systems={"relay": system}), 50)
    assert calls_table(chain).rows[0].cells[-1].text.startswith("– run relay: experiment.yaml")
    assert calls_table(comparison).rows[0].cells[-1].text == "– not chain arithmetic"
