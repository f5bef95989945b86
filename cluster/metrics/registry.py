"""Every metric that actors, driver and relay servers export for Prometheus: name -> kind, unit, tags and meaning.

Ray's endpoint shows a name with the prefix `ray_`, and a relay server's own `/metrics` shows it as it is. Both add `_total` to counters.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["gauge", "counter", "histogram"]

PREFIX = "relayllm_"
COMMON_TAGS = ("run", "actor")
"""tags of every metric on Ray's endpoint; `actor` is the actor's name, or `driver`"""

SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)
TOKENS = (1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0, 2000.0, 5000.0, 10_000.0)


@dataclass(frozen=True, slots=True)
class ExportedMetric:
    """One exported metric; `unit` is "1" for a plain number and "share" for a part of a whole, 0 to 1."""

    kind: Kind
    unit: str
    meaning: str
    tags: tuple[str, ...] = ()
    """beside `COMMON_TAGS`"""
    buckets: tuple[float, ...] = ()
    """upper bounds of a histogram's buckets"""


def _gauge(unit: str, meaning: str, *tags: str) -> ExportedMetric:
    return ExportedMetric("gauge", unit, meaning, tags)


def _counter(unit: str, meaning: str, *tags: str) -> ExportedMetric:
    return ExportedMetric("counter", unit, meaning, tags)


def _histogram(unit: str, meaning: str, buckets: tuple[float, ...]) -> ExportedMetric:
    return ExportedMetric("histogram", unit, meaning, buckets=buckets)


ANSWERS: dict[str, ExportedMetric] = {
    "relayllm_calls": _counter("calls", "calls by how they ended", "ending"),
    "relayllm_call_seconds": _histogram("s", "how long a call took, waiting included", SECONDS),
    "relayllm_output_tokens": _counter("tokens", "tokens of finished answers, by who wrote them", "writer"),
    "relayllm_policy_version": _gauge("version", "policy version of the student's weights"),
}
"""metrics that runs and relay servers have in common"""

EXPORTED: dict[str, ExportedMetric] = ANSWERS | {
    "relayllm_actor_state": _gauge("1", "1 for the state that the actor is in, 0 for all others", "role", "state"),
    "relayllm_state_seconds": _counter("s", "time that the actor has spent in a state", "role", "state"),
    "relayllm_memory_bytes": _gauge(
        "bytes", "host memory of the process, without files and shared memory; an actor's with its child processes"
    ),
    "relayllm_engine_running": _gauge("turns", "turns in the engine's batch"),
    "relayllm_engine_waiting": _gauge("turns", "turns that wait for room in the engine's batch"),
    "relayllm_engine_kv_cache_used": _gauge("share", "blocks of the engine's KV cache that turns hold"),
    "relayllm_engine_tokens": _counter("tokens", "tokens that the engine has written, also those taken back later"),
    "relayllm_engine_prompt_tokens": _counter(
        "tokens", "tokens of the prompts of finished turns, by whether the prefix cache held them", "cached"
    ),
    "relayllm_engine_busy_seconds": _counter("s", "time that the engine has spent in its steps"),
    "relayllm_call_tokens": _histogram("tokens", "tokens that the teacher wrote in a call that did not fail", TOKENS),
    "relayllm_answers": _counter("answers", "answers that were decoded, of orders that are finished"),
    "relayllm_answers_in_progress": _gauge("answers", "answers of orders that the worker is decoding"),
    "relayllm_graded_answers": _counter("answers", "answers that were graded"),
    "relayllm_grading_failures": _counter(
        "answers", "answers whose comparison was stopped at its deadline or ended its process", "reason"
    ),
    "relayllm_grading_queue": _gauge("orders", "orders that the reward actor has not finished"),
    "relayllm_trained_tokens": _counter("tokens", "tokens in the loss of the optimizer steps taken"),
    "relayllm_optimizer_steps": _counter("steps", "optimizer steps taken"),
    "relayllm_policy_lag": _gauge(
        "versions", "mean over the tokens of the last GRPO step: the learner's version minus the one that sampled it"
    ),
    "relayllm_stage": _gauge("1", "1 for the stage that the run is in, 0 for those that it was in before", "stage"),
    "relayllm_step": _gauge("steps", "the last logged step of a stage", "stage"),
    "relayllm_last_value": _gauge(
        "as in metrics.jsonl", "value of a metric at the last logged step of a stage", "stage", "metric"
    ),
    "relayllm_alarm": _gauge("1", "1 while the alarm is open, 0 when it has ended", "alarm"),
    "relayllm_orders_waiting": _gauge("orders", "orders that no rollout worker has taken yet"),
    "relayllm_rollout_workers": _gauge(
        "workers", "rollout workers that are ready, restarting, not there yet (`absent`) or lost", "state"
    ),
}
"""metrics of a run, on Ray's endpoint"""
