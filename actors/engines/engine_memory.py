"""Frees and takes back the GPU memory of a running vLLM engine (vLLM's sleep mode). Only the engine's own thread may do so."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vllm.v1.engine.llm_engine import LLMEngine

_KEEP_WEIGHTS, _DISCARD_WEIGHTS = 1, 2
"""vLLM's levels of sleep; both discard the KV cache, and with it the prefix cache"""


class EngineMemory:
    """Weights and KV cache of one engine; no turn may be in flight.

    The engine takes its memory back in two steps, the weights first, because loading new weights needs extra room.
    """

    def __init__(self, engine: LLMEngine) -> None:
        self._engine = engine

    def sleep(self, keep_weights: bool) -> None:
        """Free all of the engine's memory. Kept weights are copied to host memory; others are lost."""
        self._engine.sleep(_KEEP_WEIGHTS if keep_weights else _DISCARD_WEIGHTS)

    def wake_weights(self) -> None:
        """Take back the memory of the weights, and restore the weights if they were kept."""
        self._engine.wake_up(["weights"])

    def wake_kv_cache(self) -> None:
        """Take back the memory of the KV cache. The engine can write afterwards. Raises RuntimeError if vLLM still sleeps."""
        if not self._engine.wake_up(["kv_cache"]):
            raise RuntimeError("vLLM says that a part of the engine's memory is still asleep")
