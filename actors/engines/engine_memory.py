"""The memory of a running vLLM engine, given back and taken again by the thread that owns it (vLLM's sleep mode)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vllm.v1.engine.llm_engine import LLMEngine

_KEEP_WEIGHTS, _DISCARD_WEIGHTS = 1, 2
"""vLLM's levels of sleep; both discard the KV cache, and with it the prefix cache"""


class EngineMemory:
    """Weights and KV cache of one engine without a turn in flight.

    They are taken one after the other: new weights need room of their own while they are loaded.
    """

    def __init__(self, engine: LLMEngine) -> None:
        self._engine = engine

    def sleep(self, keep_weights: bool) -> None:
        """Give all back; the weights are copied to host memory if they are kept, and are lost otherwise."""
        self._engine.sleep(_KEEP_WEIGHTS if keep_weights else _DISCARD_WEIGHTS)

    def wake_weights(self) -> None:
        """Take the weights' memory again, with the weights in it if they were kept."""
        self._engine.wake_up(["weights"])

    def wake_kv_cache(self) -> None:
        """Take the KV cache's memory again; the engine can write then."""
        if not self._engine.wake_up(["kv_cache"]):
            raise RuntimeError("vLLM says that a part of the engine's memory is still asleep")
