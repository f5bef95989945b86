"""Every metric of the registry arrives at Ray's endpoint, with its kind and its tags."""

from __future__ import annotations

import time

import httpx
import pytest
import ray
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from cluster.metrics.publisher import Publishing, Reading, publish_actor
from cluster.metrics.registry import COMMON_TAGS, EXPORTED
from cluster.names import title_of_actor

_DEADLINE_S = 60


def readings() -> list[Reading]:
    return [Reading(name, 3.0, dict.fromkeys(metric.tags, "some")) for name, metric in EXPORTED.items()]


class Shown:
    """An actor that publishes one value of each metric."""

    def __init__(self, publishing: Publishing | None) -> None:
        publish_actor(publishing, readings)

    def __repr__(self) -> str:
        return title_of_actor("Shown")

    def title(self) -> str:
        return repr(self)


def exported() -> dict[str, Metric]:
    """Return what the endpoint of the node shows, by name."""
    (node,) = ray.nodes()
    text = httpx.get(f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics").text
    return {metric.name: metric for metric in text_string_to_metric_families(text)}


@pytest.mark.ray
def test_the_registry_is_exported_as_it_says(ray_cluster: None) -> None:
    actor = ray.remote(Shown).options(num_cpus=0, name="shown-0").remote(Publishing("test", "shown-0", every_s=1.0))
    assert ray.get(actor.title.remote()) == "shown-0 of tests"
    ends = time.monotonic() + _DEADLINE_S
    while not (found := exported()).keys() >= {f"ray_{name}" for name in EXPORTED}:
        assert time.monotonic() < ends, f"missing: {EXPORTED.keys() - {name.removeprefix('ray_') for name in found}}"
        time.sleep(1)
    ray.kill(actor)
    for name, metric in EXPORTED.items():
        shown = found[f"ray_{name}"]
        assert shown.type == metric.kind
        for sample in shown.samples:
            labels = {tag: sample.labels[tag] for tag in (*COMMON_TAGS, *metric.tags)}
            assert labels == {"run": "test", "actor": "shown-0", **dict.fromkeys(metric.tags, "some")}
        bounds = {sample.labels["le"] for sample in shown.samples if sample.name.endswith("_bucket")}
        assert {float(bound) for bound in bounds} == ({*metric.buckets, float("inf")} if metric.buckets else set())
    values = {sample.name: sample.value for sample in found["ray_relayllm_answers"].samples}
    assert values["ray_relayllm_answers_total"] == 3.0  # once, whatever the number of rounds
