"""Every metric is documented."""

from dataclasses import fields

from actors.learner.metrics import GrpoMetrics
from pipelines.records.metrics import METRICS


def test_all_figures_of_the_learner_are_documented() -> None:
    names = {field.name for field in fields(GrpoMetrics)} - {"tokens_per_s", "seconds"}
    assert {f"learner/{name}" for name in names} <= METRICS.keys()


def test_times_are_in_seconds_and_shares_are_named_so() -> None:
    assert {metric.unit for name, metric in METRICS.items() if name.startswith("time/")} == {"s"}
    assert {metric.unit for name, metric in METRICS.items() if name.endswith("_share")} == {"share"}
    assert {metric.unit for name, metric in METRICS.items() if name.endswith("_per_s")} == {"tokens/s"}
