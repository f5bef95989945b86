"""What an engine's metrics show."""

from __future__ import annotations

from collections.abc import Iterator

from actors.engines.vllm import VllmEngine
from cluster.metrics.publisher import Reading


def engine_readings(engine: VllmEngine) -> Iterator[Reading]:
    """Yield what an engine holds and has done."""
    occupancy, load = engine.occupancy(), engine.load
    yield Reading("relayllm_engine_running", occupancy.running)
    yield Reading("relayllm_engine_waiting", occupancy.waiting)
    yield Reading("relayllm_engine_kv_cache_used", occupancy.kv_cache_used)
    yield Reading("relayllm_engine_tokens", load.generated_tokens)
    yield Reading("relayllm_engine_busy_seconds", load.busy_s)
    uncached = load.prompt_tokens - load.cached_prompt_tokens
    yield Reading("relayllm_engine_prompt_tokens", load.cached_prompt_tokens, {"cached": "yes"})
    yield Reading("relayllm_engine_prompt_tokens", uncached, {"cached": "no"})
