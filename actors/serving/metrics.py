"""The server's metrics for Prometheus. Each ingress process counts what it answered itself."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from actors.serving.errors import ApiError
from actors.serving.events import CallReport, Event, Summary
from actors.serving.pieces import Piece
from actors.serving.request import ModelKind
from actors.trajectory import CallEnding
from cluster.metrics.registry import ANSWERS, SECONDS

T = TypeVar("T", Counter, Gauge, Histogram)

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class ServerMetrics:
    """Counts requests and what they took."""

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        self.requests = Counter(
            "relayllm_requests", "requests by model and outcome", ["model", "outcome"], registry=registry
        )
        self.running = Gauge("relayllm_running_requests", "requests that are being answered", registry=registry)
        self.tokens = self._shared(Counter, "relayllm_output_tokens")
        self.prompt_tokens = Counter(
            "relayllm_prompt_tokens", "tokens that a model had to read, by whether its cache held them", ["reader", "cached"],
            registry=registry,
        )  # fmt: skip
        self.calls = self._shared(Counter, "relayllm_calls")
        self.cost = Counter("relayllm_cost", "cost of all answers, in the server's currency", registry=registry)
        self.alone_cost = Counter(
            "relayllm_teacher_alone_cost", "cost of the same answers if the teacher had written them", registry=registry
        )
        self.first_text_s = Histogram(
            "relayllm_time_to_first_text_seconds",
            "from the request to its first text",
            buckets=SECONDS,
            registry=registry,
        )
        self.request_s = Histogram("relayllm_request_seconds", "whole requests", buckets=SECONDS, registry=registry)
        self.call_s = self._shared(Histogram, "relayllm_call_seconds", buckets=SECONDS)
        self.call_first_token_s = Histogram(
            "relayllm_call_first_token_seconds", "from a command to the teacher's first token", buckets=SECONDS,
            registry=registry,
        )  # fmt: skip
        self.version = self._shared(Gauge, "relayllm_policy_version")

    def _shared(self, kind: type[T], name: str, **options: Any) -> T:
        """Return a metric that a run exports too, as the registry defines it."""
        metric = ANSWERS[name]
        return kind(name, metric.meaning, metric.tags, registry=self._registry, **options)

    def text(self) -> bytes:
        """Return all metrics in Prometheus's text form."""
        return generate_latest(self._registry)

    @contextmanager
    def request(self, kind: ModelKind) -> Iterator[Measured]:
        """Measure one request. Its outcome is ok, cancelled, or the status of its `ApiError`."""
        started, outcome = time.perf_counter(), "cancelled"
        self.running.inc()
        try:
            yield Measured(self, started)
            outcome = "ok"
        except ApiError as error:
            outcome = str(error.status)
            raise
        finally:
            self.running.dec()
            self.requests.labels(kind.value, outcome).inc()
            self.request_s.observe(time.perf_counter() - started)


@dataclass(slots=True)
class Measured:
    """One request that is being measured."""

    metrics: ServerMetrics
    started: float
    has_text: bool = False

    def events(self, events: Sequence[Event]) -> None:
        """Count events of the request."""
        metrics = self.metrics
        for event in events:
            if isinstance(event, Piece) and not self.has_text:
                self.has_text = True
                metrics.first_text_s.observe(time.perf_counter() - self.started)
            elif isinstance(event, CallReport):
                metrics.calls.labels(CallEnding(event.ending).name.lower()).inc()
                metrics.call_s.observe(event.duration_s)
                if event.first_token_s is not None:
                    metrics.call_first_token_s.observe(event.first_token_s)
            elif isinstance(event, Summary):
                self._summary(event)

    def _summary(self, summary: Summary) -> None:
        metrics = self.metrics
        metrics.tokens.labels("student").inc(summary.student_tokens)
        metrics.tokens.labels("teacher").inc(summary.teacher_tokens)
        for reader, usage in (("student", summary.usage.student), ("teacher", summary.usage.teacher)):
            metrics.prompt_tokens.labels(reader, "yes").inc(usage.cached_tokens)
            metrics.prompt_tokens.labels(reader, "no").inc(usage.prompt_tokens - usage.cached_tokens)
        metrics.cost.inc(summary.cost)
        metrics.alone_cost.inc(summary.teacher_alone_cost)
        metrics.version.set(summary.policy_version)
