"""Metrics of `ray.util.metrics`, which Ray's agent on each node exports for Prometheus."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cluster.metrics.registry import COMMON_TAGS, EXPORTED


class RaySink:
    """Makes each of Ray's metrics when it is first needed. Ray must be up in this process."""

    def __init__(self) -> None:
        import ray

        if not ray.is_initialized():
            raise RuntimeError("metrics cannot be published: this process is not connected to Ray")
        self._metrics: dict[str, Any] = {}

    def set(self, name: str, value: float, tags: Mapping[str, str]) -> None:
        """See `Sink`."""
        self._metric(name).set(value, tags)

    def add(self, name: str, value: float, tags: Mapping[str, str]) -> None:
        """See `Sink`."""
        self._metric(name).inc(value, tags)

    def observe(self, name: str, value: float, tags: Mapping[str, str]) -> None:
        """See `Sink`."""
        self._metric(name).observe(value, tags)

    def _metric(self, name: str) -> Any:
        if name not in self._metrics:
            self._metrics[name] = _made(name)
        return self._metrics[name]


def _made(name: str) -> Any:
    from ray.util.metrics import Counter, Gauge, Histogram

    metric = EXPORTED[name]
    described = {"description": f"{metric.meaning} ({metric.unit})", "tag_keys": (*COMMON_TAGS, *metric.tags)}
    match metric.kind:
        case "gauge":
            return Gauge(name, **described)
        case "counter":
            return Counter(name, **described)
        case "histogram":
            return Histogram(name, boundaries=list(metric.buckets), **described)
