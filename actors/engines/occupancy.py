"""How full a vLLM engine is: read when metrics are published, not while it writes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vllm.v1.engine.llm_engine import LLMEngine
    from vllm.v1.metrics.stats import SchedulerStats


@dataclass(frozen=True, slots=True)
class Occupancy:
    """What an engine's scheduler holds."""

    running: int = 0
    """turns in the batch"""
    waiting: int = 0
    """turns that wait for room"""
    kv_cache_used: float = 0.0
    """share, in [0, 1]"""


def core_is_apart() -> bool:
    """Return whether vLLM will run an engine's core in a process of its own."""
    from vllm import envs

    return bool(envs.VLLM_ENABLE_V1_MULTIPROCESSING)


def occupancy_of(engine: LLMEngine) -> Callable[[], Occupancy]:
    """Return a function that reads the occupancy of an engine, from any thread.

    A core in this process is asked directly. A core apart sends its scheduler's statistics with the outputs of each step, if the
    engine was made with `disable_log_stats=False`. The last ones are kept, and vLLM's own statistics of each token are off.
    """
    from vllm.v1.engine.core_client import InprocClient

    core = engine.engine_core
    if isinstance(core, InprocClient):
        scheduler = core.engine_core.scheduler

        def now() -> Occupancy:
            running, waiting = scheduler.get_request_counts()
            return Occupancy(running, waiting, scheduler.get_kv_cache_usage())

        return now
    engine.logger_manager, engine.log_stats, engine.output_processor.log_stats = None, False, False
    last = Occupancy()

    def keep(stats: SchedulerStats | None) -> None:
        nonlocal last
        if stats is not None:
            waiting = stats.num_waiting_reqs + stats.num_skipped_waiting_reqs
            last = Occupancy(stats.num_running_reqs, waiting, stats.kv_cache_usage)

    engine.output_processor.update_scheduler_stats = keep  # type: ignore[method-assign]
    return lambda: last
