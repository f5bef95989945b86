"""The report's figures."""

from io import BytesIO
from pathlib import Path

import matplotlib.image
import pytest
from matplotlib.axes import Axes

from pipelines.report.drawing import WIDTH_IN, FigureSpec, png
from pipelines.report.run.figures import FIGURES, draw_calls, draw_frontier, draw_learning
from pipelines.report.run.reading import read_run
from pipelines.report.theme import DARK, LIGHT


@pytest.mark.parametrize("spec", FIGURES, ids=lambda spec: spec.name)
def test_figure_is_drawn_in_full_width_and_is_not_blank(chain_run: Path, spec: FigureSpec) -> None:
    image = png(spec, read_run(chain_run), LIGHT)
    assert image is not None
    pixels = matplotlib.image.imread(BytesIO(image))
    assert pixels.shape[1] == pytest.approx(WIDTH_IN * 192, abs=2)
    assert pixels[..., :3].var() > 1e-3


@pytest.mark.parametrize("spec", FIGURES, ids=lambda spec: spec.name)
def test_figure_without_data_is_none(metrics_only, spec: FigureSpec) -> None:
    run = read_run(metrics_only([{"stage": "grpo", "step": 1, "time_s": 1.0, "metrics": {"other": 1.0}}]))
    assert png(spec, run, LIGHT) is None


def test_dark_figure_has_a_dark_ground(chain_run: Path) -> None:
    image = png(FIGURES[0], read_run(chain_run), DARK)
    assert image is not None
    assert matplotlib.image.imread(BytesIO(image))[0, 0, :3].max() < 0.2


def marker_points(axes: Axes, color: str, marker: str) -> set[tuple[float, float]]:
    lines = [line for line in axes.lines if line.get_color() == color and line.get_marker() == marker]
    return {(float(x), float(y)) for line in lines for x, y in line.get_xydata()}


def test_frontier_shows_every_relay_evaluation_and_the_oracle(chain_run: Path) -> None:
    run = read_run(chain_run)
    figure = draw_frontier(run, LIGHT)
    assert figure is not None
    axes = figure.axes[run.kinds.index("teacher_known")]
    relay = {(e.call_ratio, e.accuracy) for e in run.evaluated("relay", "teacher_known")}
    assert len(relay) == 4
    assert marker_points(axes, LIGHT.relay, "o") == relay
    assert marker_points(axes, LIGHT.teacher, "s") == {(1.0, 0.96)}
    assert marker_points(axes, LIGHT.oracle, "*") == {(0.081, 0.99)}


def test_frontier_has_a_panel_per_benchmark_and_no_star_without_an_oracle(benchmark_run: Path) -> None:
    figure = draw_frontier(read_run(benchmark_run), LIGHT)
    assert figure is not None
    assert [axes.get_title() for axes in figure.axes if axes.get_visible()] == [
        "minerva", "math500", "gsm8k", "olympiad", "aime25", "aime24",
    ]  # fmt: skip
    assert all(not marker_points(axes, LIGHT.oracle, "*") for axes in figure.axes)


def test_learning_draws_the_oracle_ratio_of_each_kind(chain_run: Path) -> None:
    figure = draw_learning(read_run(chain_run), LIGHT)
    assert figure is not None
    dashed = {line.get_ydata()[0] for line in figure.axes[1].lines if line.get_linestyle() == "--"}
    assert dashed == {0.0, 0.081, 0.038}


def test_panel_without_its_metrics_is_left_out(metrics_only) -> None:
    records = [
        {"stage": "grpo", "step": i, "time_s": 1.0, "metrics": {"rollout/calls_per_sample": 1.0}} for i in range(3)
    ]
    figure = draw_calls(read_run(metrics_only(records)), LIGHT)
    assert figure is not None
    assert [axes.get_title() for axes in figure.axes] == ["per sample"]


def test_names_with_dollar_signs_are_drawn_as_text(chain_run: Path) -> None:
    path = chain_run / "evaluations.jsonl"
    path.write_text(path.read_text().replace('"known"', r'"a_$b\\frac{$"'))
    assert png(FIGURES[0], read_run(chain_run), LIGHT) is not None
