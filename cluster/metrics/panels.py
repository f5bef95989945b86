"""The panels of the Grafana dashboard: what each asks Prometheus for, and what it tells."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from cluster.metrics.registry import PREFIX

Shape = Literal["lines", "stacked", "table"]

RUN = 'run="$run"'
"""a matcher of every query; the dashboard's variable `run` chooses the run"""


@dataclass(frozen=True, slots=True)
class Query:
    """One query of a panel, and how its series are named in the legend."""

    expression: str
    legend: str


@dataclass(frozen=True, slots=True)
class Panel:
    """One panel; `unit` is Grafana's name of a unit."""

    title: str
    tells: str
    queries: tuple[Query, ...]
    unit: str = "short"
    shape: Shape = "lines"


def _metric(name: str, **labels: str) -> str:
    """Return a metric as Ray exports it, for the chosen run. The values of `labels` are regular expressions."""
    matchers = [RUN, *(f'{label}=~"{value}"' for label, value in labels.items())]
    return f"ray_{PREFIX}{name}{{{','.join(matchers)}}}"


def _rate(name: str, **labels: str) -> str:
    return f"rate({_metric(f'{name}_total', **labels)}[$__rate_interval])"


def _last(*metrics: str) -> str:
    return f"max by (metric) ({_metric('last_value', stage='grpo', metric='|'.join(metrics))})"


def _quantiles(name: str) -> tuple[Query, ...]:
    buckets = f"sum by (le) (rate({_metric(f'{name}_bucket')}[$__rate_interval]))"
    return tuple(Query(f"histogram_quantile({q}, {buckets})", f"{q:.0%}") for q in (0.5, 0.95))


def _by(labels: str, expression: str) -> str:
    return f"sum by ({labels}) ({expression})"


ROWS: dict[str, tuple[Panel, ...]] = {
    "The run": (
        Panel(
            "Stage and step",
            "The stage that the run is in has the value 1. The steps are the last logged ones of each stage.",
            (
                Query(f"max by (stage) ({_metric('stage')}) == 1", "now: {{stage}}"),
                Query(f"max by (stage) ({_metric('step')})", "step of {{stage}}"),
            ),
            shape="table",
        ),
        Panel(
            "Open alarms",
            "An open alarm has the value 1. docs/troubleshooting.md says what each one means and what to do.",
            (Query(f"max by (alarm) ({_metric('alarm')})", "{{alarm}}"),),
        ),
        Panel(
            "Training answers",
            "Accuracy and call ratio of the answers of each GRPO step. Accuracy should rise. A call ratio that goes to 0 or to 1 "
            "means that the student stops calling, or lets the teacher write everything.",
            (Query(_last("rollout/accuracy", "rollout/call_ratio", "rollout/cut_off_share"), "{{metric}}"),),
            "percentunit",
        ),
        Panel(
            "Reward",
            "Mean and spread of the rewards of each GRPO step. A spread of 0 teaches nothing.",
            (Query(_last("reward/mean", "reward/std"), "{{metric}}"),),
        ),
        Panel(
            "Stability",
            "KL to the warm-up policy, entropy, and the difference of the learner's and the engines' log-probs. A difference that "
            "grows means that the two compute different policies.",
            (Query(_last("learner/kl", "learner/entropy", "learner/logprob_gap"), "{{metric}}"),),
        ),
        Panel(
            "Time of a step",
            "Seconds of each phase of the last GRPO step. With `grpo.async_depth` 1 rollout runs beside learning.",
            (
                Query(
                    _last(
                        *(f"time/{part}_s" for part in ("rollout", "learn", "wait", "sync", "evaluate", "checkpoint"))
                    ),
                    "{{metric}}",
                ),
            ),
            "s",
            "stacked",
        ),
    ),
    "Actors": (
        Panel(
            "State",
            "What each actor does now. An actor that is missing here is dead, or has not begun to start.",
            (Query(f"max by (actor, role, state) ({_metric('actor_state')}) == 1", "{{actor}}: {{state}}"),),
            shape="table",
        ),
        Panel(
            "Time by state",
            "Share of time that the actors of a role spend in each state. Rollout workers that are idle while the teacher writes "
            "wait for the teacher; all engines idle while the learner learns is what `grpo.async_depth` 1 avoids.",
            (Query(f"avg by (role, state) ({_rate('state_seconds')})", "{{role}}: {{state}}"),),
            "percentunit",
        ),
        Panel(
            "Memory",
            "Host memory of each process. A line that rises over all steps ends with an actor that is killed.",
            (Query(f"max by (actor) ({_metric('memory_bytes')})", "{{actor}}"),),
            "bytes",
        ),
    ),
    "Engines": (
        Panel(
            "Tokens written",
            "Tokens per second of each engine.",
            (Query(_by("actor", _rate("engine_tokens")), "{{actor}}"),),
        ),
        Panel(
            "Busy",
            "Share of time that an engine spends in its steps. The busiest engine is the bottleneck of the rollout.",
            (Query(_by("actor", _rate("engine_busy_seconds")), "{{actor}}"),),
            "percentunit",
        ),
        Panel(
            "Turns",
            "Turns in each engine's batch, and those that wait for room in it. If many wait for long, raise `max_num_seqs` or the "
            "KV cache, or lower `rollout.sequences_in_flight`.",
            (
                Query(f"max by (actor) ({_metric('engine_running')})", "{{actor}} running"),
                Query(f"max by (actor) ({_metric('engine_waiting')})", "{{actor}} waiting"),
            ),
        ),
        Panel(
            "KV cache",
            "Share of each engine's KV cache that turns hold. At 100 % turns wait, or are computed again.",
            (Query(f"max by (actor) ({_metric('engine_kv_cache_used')})", "{{actor}}"),),
            "percentunit",
        ),
        Panel(
            "Prefix-cache hits",
            "Share of the prompts' tokens that the cache held. Later turns of a sequence should hit.",
            (
                Query(
                    f"{_by('actor', _rate('engine_prompt_tokens', cached='yes'))}"
                    f" / {_by('actor', _rate('engine_prompt_tokens'))}",
                    "{{actor}}",
                ),
            ),
            "percentunit",
        ),
    ),
    "Calls": (
        Panel(
            "Call ratio",
            "Teacher-written tokens of all tokens of the answers. 100 % while the teacher is evaluated alone.",
            (
                Query(
                    # A counter appears with its first count, and a teacher that was never called has none.
                    f"({_by('run', _rate('output_tokens', writer='teacher'))} or 0 * {_by('run', _rate('output_tokens'))})"
                    f" / {_by('run', _rate('output_tokens'))}",
                    "{{run}}",
                ),
            ),
            "percentunit",
        ),
        Panel(
            "Calls by ending",
            "Calls per second. `failed` should be 0: the teacher failed, missed its deadline or had no room.",
            (Query(_by("ending", _rate("calls")), "{{ending}}"),),
        ),
        Panel(
            "Call latency",
            "How long calls take, waiting included: the median, and what 95 % stay below.",
            _quantiles("call_seconds"),
            "s",
        ),
        Panel(
            "Call length",
            "Tokens that the teacher writes in a call: the median, and what 95 % stay below.",
            _quantiles("call_tokens"),
        ),
    ),
    "Queues, grading and weights": (
        Panel(
            "Answers in progress",
            "Answers that each worker decodes, and orders that no worker has taken.",
            (
                Query(f"max by (actor) ({_metric('answers_in_progress')})", "{{actor}}"),
                Query(f"max by (run) ({_metric('orders_waiting')})", "orders waiting"),
            ),
        ),
        Panel(
            "Rollout workers",
            "Workers that take orders, restart, have not joined yet, or are lost for good.",
            (Query(f"max by (state) ({_metric('rollout_workers')})", "{{state}}"),),
        ),
        Panel(
            "Grading",
            "Graded answers per second, orders that the reward actor has not finished, and comparisons that were stopped.",
            (
                Query(_by("run", _rate("graded_answers")), "answers/s"),
                Query(f"max by (run) ({_metric('grading_queue')})", "orders in grading"),
                Query(f"{_by('reason', _rate('grading_failures'))} or vector(0)", "failures/s {{reason}}"),
            ),
        ),
        Panel(
            "Policy version",
            "The version that the driver has given out, and the one that each worker holds. A worker that stays behind has "
            "restarted, or does not take weights.",
            (Query(f"max by (actor) ({_metric('policy_version')})", "{{actor}}"),),
        ),
        Panel(
            "Policy lag",
            "Versions between the policy that wrote the tokens of the last GRPO step and the one that learned from them. 0 without "
            "`grpo.async_depth`.",
            (Query(f"max by (run) ({_metric('policy_lag')})", "{{run}}"),),
        ),
        Panel(
            "Trained tokens",
            "Tokens per second that the learner takes a gradient of.",
            (Query(_by("run", _rate("trained_tokens")), "{{run}}"),),
        ),
    ),
}
"""by the title of the row"""
