"""What runs inside vLLM's worker processes: it loads new weights into the live model."""

from __future__ import annotations

import os
import pickle
import signal
import threading
import time
import warnings
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cluster.shared_weights import Place, SharedWeights, Weights, attach

if TYPE_CHECKING:
    from torch import Tensor

_WATCH_S = 0.5


class WeightReceiver:
    """A mixin of vLLM's worker, added by `worker_extension_cls`. Its methods are called with `collective_rpc`."""

    def end_with(self, actor: int) -> None:
        """End this process and vLLM's core process as soon as the process `actor`, which started the core, is gone.

        A core does not notice by itself that its actor was killed. It would keep the GPU's memory for good.
        """
        parent = os.getppid()
        threading.Thread(target=_watch, args=(actor, None if parent == actor else parent), daemon=True).start()

    def load_arrays(self, weights: Weights) -> None:
        """Replace the model's weights by arrays in this process's memory. No array is referenced afterwards.

        After loading, vLLM transforms weights; on the CPU it packs linear layers, for example. The layer-wise reload undoes
        this first and redoes it afterwards. A tied head is packed separately from the embedding, so it is loaded too.
        """
        from vllm.config import set_current_vllm_config
        from vllm.model_executor.model_loader.reload import finalize_layerwise_reload, initialize_layerwise_reload

        model, model_config = self.model_runner.model, self.model_runner.model_config  # type: ignore[attr-defined]
        tensors = _tensors(weights)
        if model_config.hf_config.tie_word_embeddings:
            tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"]
        with set_current_vllm_config(self.vllm_config):  # type: ignore[attr-defined]
            initialize_layerwise_reload(model)
            model.load_weights(tensors.items())
            finalize_layerwise_reload(model, model_config)

    def load_shared(self, segment: str, places: Sequence[Place]) -> None:
        """Replace the model's weights by those in shared memory. The arguments are the fields of a `SharedWeights`."""
        with attach(SharedWeights(segment, places)) as weights:
            self.load_arrays(weights)

    def join_transfer(self, backend: str, init_info: dict[str, Any]) -> None:
        """Leave any earlier transfer, and join the learner's over vLLM's weight-transfer engine `backend`.

        The transfer engine is made here, not by vLLM's configuration, because the back end depends on where the actors run.
        """
        from vllm.config.weight_transfer import WeightTransferConfig
        from vllm.distributed.weight_transfer import WeightTransferEngineFactory

        self.shutdown_weight_transfer_engine()  # type: ignore[attr-defined]
        self.weight_transfer_engine = WeightTransferEngineFactory.create_engine(
            WeightTransferConfig(backend=backend),
            self.vllm_config,  # type: ignore[attr-defined]
            self.device,  # type: ignore[attr-defined]
            self.model_runner.get_model(),  # type: ignore[attr-defined]
        )
        self.init_weight_transfer_engine(init_info)  # type: ignore[attr-defined]

    def receive_transfer(self, update_info: bytes) -> None:
        """Receive weights that the learner is sending.

        `update_info` is pickled, because vLLM's own messages cannot carry CUDA IPC handles.
        """
        self.update_weights(pickle.loads(update_info))  # type: ignore[attr-defined]


def _watch(actor: int, core: int | None) -> None:
    """Wait until the actor is no longer the parent of vLLM's core; then end this process, and `core` if it is another one."""
    while (os.getppid() if core is None else _parent_of(core)) == actor:
        time.sleep(_WATCH_S)
    if core is not None and os.getppid() == core:
        with suppress(ProcessLookupError):
            os.kill(core, signal.SIGKILL)
    os.kill(os.getpid(), signal.SIGKILL)


def _parent_of(process: int) -> int | None:
    """Return the parent of a process, None if it is gone."""
    try:
        status = Path(f"/proc/{process}/status").read_text()
    except OSError:
        return None
    return next((int(line.split()[1]) for line in status.splitlines() if line.startswith("PPid:")), None)


def _tensors(weights: Weights) -> dict[str, Tensor]:
    import torch

    with warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore", message="The given NumPy array is not writable"
        )  # arrays of Ray's object store
        tensors = {name: torch.from_numpy(array) for name, array in weights.items()}
    return {name: t.view(torch.bfloat16) if t.dtype == torch.uint16 else t for name, t in tensors.items()}
