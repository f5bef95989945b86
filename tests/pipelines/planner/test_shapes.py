"""Shapes of answers: recorded ones add up to their columns, and assumed ones keep the experiment's limits."""

from pathlib import Path
from statistics import fmean

import pytest

from pipelines.experiment.errors import ConfigError
from pipelines.experiment.loading import load
from pipelines.experiment.schema import Experiment
from pipelines.planner.shapes import assumed, recorded, shape_of

GPU = Path(__file__).parents[3] / "experiments" / "gpu.yaml"


def test_the_parts_of_a_recorded_answer_add_up() -> None:
    shape = shape_of(14, 53, positions=[13, 29, 45], written=[2, 2, 3], contexts=[20, 29, 38], cached=[0, 20, 29])
    assert [call.after for call in shape.calls] == [13, 14, 14]
    assert [call.read for call in shape.calls] == [20, 9, 9]
    assert shape.student + shape.teacher == 53 and shape.teacher == 7 and shape.rest == 5
    assert shape.tokens == 67


def test_a_run_without_evaluated_answers_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"answers\.parquet"):
        recorded(tmp_path)


def test_assumed_shapes_keep_to_the_limits_and_are_the_same_each_time() -> None:
    experiment = load(GPU, [], Experiment)
    shapes, limits = assumed(experiment), experiment.grpo.limits
    assert max(shape.student + shape.teacher for shape in shapes) == limits.max_new_tokens
    assert max(len(shape.calls) for shape in shapes) == limits.max_calls
    assert 0.18 < fmean(shape.student + shape.teacher for shape in shapes) / limits.max_new_tokens < 0.26
    assert shapes == assumed(experiment)
