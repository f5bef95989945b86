"""A small run on a cluster of its own, which a Prometheus scrapes from its beginning to its end."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cluster.metrics.panels import Query
from tests.clusters import REPOSITORY, Cluster, cluster_of_its_own
from tests.prometheus import SCRAPE_S, Prometheus, prometheus

# The student is warmed up for long enough to make calls: without calls, their panels would have no data.
WATCHED = """
extends: {demo}
name: watched
models: {{cache_dir: {cache}}}
data:
  train: {{counts: {{known: 24, teacher_known: 48, unknowable: 4}}}}
  evaluation: [{{source: chain_arithmetic, counts: {{known: 4, teacher_known: 4, unknowable: 2}}}}]
filter: {{enabled: false}}
warmup: {{samples: 400, copies: 16}}
grpo: {{steps: 3, prompts_per_step: 8, group_size: 4, checkpoint_every: 2, evaluate_every: 2, loss: {{kl_coefficient: 0.01}}}}
evaluation: {{base: [], warmup: [], final: [relay], problems_during_training: 6, traces: 0}}
cluster: {{metrics_every_s: 0.5}}
tracking: {{mode: disabled}}
"""


@dataclass(frozen=True, slots=True)
class Series:
    """The finite values of one line of a panel."""

    legend: str
    times: list[float]
    """seconds since the run began"""
    values: list[float]


@dataclass(frozen=True, slots=True)
class Watched:
    """A run that has ended, on a cluster that is still up."""

    cluster: Cluster
    prometheus: Prometheus
    start: float
    end: float
    """in seconds since 1970"""
    kinds: dict[str, str]
    """of all metrics that were ever scraped, by the name that Ray gives them"""

    def series(self, query: Query) -> list[Series]:
        """Return what Grafana would show of a panel's query over the run; lines without a finite value are left out."""
        asked = query.expression.replace("$run", "watched").replace("$__rate_interval", f"{8 * SCRAPE_S}s")
        found = []
        for one in self.prometheus.history(asked, self.start, self.end, SCRAPE_S):
            legend = query.legend
            for label, value in one["metric"].items():
                legend = legend.replace("{{" + label + "}}", value)
            points = [(at - self.start, float(value)) for at, value in one["values"] if math.isfinite(float(value))]
            if points:
                found.append(Series(legend, [at for at, _ in points], [value for _, value in points]))
        return found

    def values(self, expression: str) -> list[float]:
        """Return the values of a query that has one line."""
        (only,) = self.series(Query(expression, ""))
        return only.values


@contextmanager
def watched_run(folder: Path) -> Iterator[Watched]:
    """Do the run; its files lie in `folder`."""
    experiment, targets = folder / "watched.yaml", folder / "targets.json"
    experiment.write_text(WATCHED.format(demo=REPOSITORY / "experiments" / "demo.yaml", cache=folder / "models"))
    often = {"RAY_metrics_report_interval_ms": "500", "RAY_task_events_report_interval_ms": "200"}
    with cluster_of_its_own(folder, settings=often) as cluster:
        targets.write_text(json.dumps([{"targets": [cluster.metrics]}]))
        with prometheus(folder, targets) as server:
            start = time.time()
            cluster.environment["RAY_ADDRESS"] = cluster.address
            command = ("python", "-m", "pipelines", "run", str(experiment), f"run_dir={folder / 'run'}")
            kinds: dict[str, str] = {}
            with ThreadPoolExecutor(max_workers=1) as beside:
                running = beside.submit(cluster.run, *command, timeout_s=1500)
                while not wait([running], timeout=5 * SCRAPE_S).done:  # Prometheus forgets what is no longer there
                    kinds |= {name: entries[0]["type"] for name, entries in server.ask("metadata").items()}
            ended = running.result()
            assert ended.returncode == 0, ended.stdout[-3000:] + ended.stderr[-3000:]
            yield Watched(cluster, server, start, time.time(), kinds)
