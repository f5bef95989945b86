"""Replaces the weights of a running vLLM engine between two steps. Only the engine's own thread may do so."""

from __future__ import annotations

import os
import pickle
from typing import TYPE_CHECKING, assert_never

import numpy as np

from actors.engines.base import EngineError
from actors.trajectory import Int32
from cluster.shared_weights import Weights, share
from cluster.transfer_actions import Begin, End, Join, Receive, TransferAction

if TYPE_CHECKING:
    from vllm.outputs import CompletionOutput
    from vllm.v1.engine.llm_engine import LLMEngine

_UNKNOWN = -1


class LiveWeights:
    """Weights and policy version of one engine. Requests in flight continue under the new weights.

    Their keys and values are computed again, but their tokens keep the log-probs of the old weights. A caller that wants
    requests to end under the old weights must wait for them first.
    """

    def __init__(self, engine: LLMEngine) -> None:
        from vllm.v1.engine.core_client import InprocClient

        self._engine = engine
        self._core_apart = not isinstance(engine.engine_core, InprocClient)
        executor = engine.vllm_config.parallel_config.distributed_executor_backend
        self._model_apart = self._core_apart or executor != "uni"
        self.version = 0
        if self._core_apart:
            engine.collective_rpc("end_with", args=(os.getpid(),))
        engine.set_weight_version("0")

    def load(self, weights: Weights, version: int) -> None:
        """Load `weights`, arrays in this process's memory, as policy `version`."""
        if self._model_apart:
            with share(weights) as shared:  # before the pause, since shared memory may be full
                self._pause()
                self._engine.collective_rpc("load_shared", args=(shared.segment, shared.places))
        else:
            self._pause()
            self._engine.collective_rpc("load_arrays", args=(weights,))
        self._resume(version)

    def transfer(self, action: TransferAction) -> None:
        """Take part in a weight transfer from the learner. The engine must not run steps between `Begin` and `End`."""
        match action:
            case Join(backend, init_info):
                self._engine.collective_rpc("join_transfer", args=(backend.value, init_info))
            case Begin():
                self._pause()
                self._engine.collective_rpc("start_weight_update")
            case Receive(update_info):
                self._engine.collective_rpc("receive_transfer", args=(pickle.dumps(update_info),))
            case End(version):
                self._engine.collective_rpc("finish_weight_update")
                self._resume(version)
            case _:
                assert_never(action)

    def _pause(self) -> None:
        # Within this process, nothing runs between two steps. A core in another process steps by itself, so it must be paused.
        if self._core_apart:
            self._engine.engine_core.call_utility("pause_scheduler", "keep", False)

    def _resume(self, version: int) -> None:
        if not self._engine.reset_prefix_cache(reset_running_requests=True):
            raise RuntimeError("the prefix cache could not be emptied")
        self._engine.set_weight_version(str(version))
        self.version = version
        if self._core_apart:
            self._engine.engine_core.call_utility("resume_scheduler")


def token_versions(completion: CompletionOutput) -> Int32:
    """Return the policy version that sampled each token of a finished turn, [t]. Raises `EngineError` if vLLM reports none."""
    versions = np.full(len(completion.token_ids), _UNKNOWN, np.int32)
    for span in completion.weight_versions or ():
        versions[span.start : span.end] = int(span.version)
    if missing := int((versions == _UNKNOWN).sum()):
        raise EngineError(f"vLLM does not say which weights sampled {missing} of the turn's {len(versions)} tokens")
    return versions
