"""The learner's end of a weight transfer between GPUs, over vLLM's trainer engines (`vllm.distributed.weight_transfer`)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING, Any

from actors.learner.export import full_parameters
from cluster.deadlines import ROLLOUT_DEADLINE, results
from cluster.devices import WeightBackend
from cluster.transfer_actions import Begin, End, Join, Receive, TransferAction
from cluster.weight_buffers import NCCL_BUFFERS, PACKED_BYTES, ipc_buffer_bytes
from cluster.weight_transport import InFlight

if TYPE_CHECKING:
    from ray.actor import ActorHandle
    from torch import Tensor
    from transformers import PreTrainedModel
    from vllm.distributed.weight_transfer import WeightSource


@dataclass(slots=True)
class EngineClient:
    """The control calls of a transfer to rollout actors. The four methods are those of vLLM's `VLLMWeightSyncClient`.

    They raise `DeadlineError`, which names the late engines, if a whole update takes longer than `deadline_s`. That time
    includes the turns in flight, if those finish first.
    """

    backend: WeightBackend
    engines: Mapping[str, ActorHandle[Any]]
    """by the actor's name"""
    gpus_per_engine: Sequence[int]
    in_flight: InFlight
    deadline_s: float
    """the value of rollout.deadline_s"""
    version: int = 0
    """policy version of the next update"""
    _until: float = 0.0
    """when the connection or update under way is late, on the rank's own `monotonic` clock"""

    def init_weight_transfer_engine(self, init_info: dict[str, Any]) -> None:
        """Make every engine join. Each engine gets its own rank offset, because vLLM only numbers the ranks of one engine."""
        self._until = monotonic() + self.deadline_s
        infos = [dict(init_info) for _ in self.engines]
        if (offset := init_info.get("rank_offset")) is not None:
            for info, gpus in zip(infos, self.gpus_per_engine, strict=True):
                info["rank_offset"], offset = offset, offset + gpus
        self._give("connecting the rollout engines", [Join(self.backend, info) for info in infos])

    def start_weight_update(self) -> None:
        """Make the engines stop writing. Their turns in flight finish first, or pause, as `in_flight` says."""
        self._until = monotonic() + self.deadline_s
        self._give("pausing the rollout engines for new weights", [Begin(self.in_flight)] * len(self.engines))

    def update_weights(self, update_info: dict[str, Any] | list[dict[str, Any]]) -> None:
        """Make the engines receive weights."""
        self._give("sending weights to the rollout engines", [Receive(update_info)] * len(self.engines))

    def finish_weight_update(self, weight_version: str | None = None) -> None:
        """Make the engines continue as policy `version`."""
        self._give("starting the rollout engines with new weights", [End(self.version)] * len(self.engines))

    def _give(self, what: str, actions: Sequence[TransferAction]) -> None:
        """Give each engine its action, and wait until all have done it."""
        given = zip(self.engines.values(), actions, strict=True)
        results(
            [engine.transfer.remote(action) for engine, action in given],
            what,
            self.deadline_s,
            ROLLOUT_DEADLINE,
            names=list(self.engines),
            left_s=max(self._until - monotonic(), 0.0),
        )


class WeightSender:
    """Sends a model that is spread over the learner's ranks. Every rank makes one, and makes the same calls."""

    def __init__(
        self,
        model: Callable[[], PreTrainedModel],
        rank: int,
        client: EngineClient,
        address: tuple[str, int],
    ) -> None:
        """Connect to the engines. `address` is the host and port where rank 0 listens."""
        from vllm.distributed.weight_transfer import WeightTransferTrainerFactory
        from vllm.distributed.weight_transfer.ipc_engine import IPCTrainerInitInfo
        from vllm.distributed.weight_transfer.nccl_engine import NCCLTrainerInitInfo

        self._client = client
        source = learner_source(model)
        init_info: NCCLTrainerInitInfo | IPCTrainerInitInfo
        if client.backend is WeightBackend.CUDA_IPC:
            largest = max(math.prod(meta.shape) * meta.dtype.itemsize for meta in source.metadata())
            buffer_bytes = ipc_buffer_bytes(largest)
            init_info = IPCTrainerInitInfo(rank=rank, packed=True, packed_buffer_size_bytes=buffer_bytes)
        else:
            host, port = address
            world_size = 1 + sum(client.gpus_per_engine)
            init_info = NCCLTrainerInitInfo(
                host,
                port,
                world_size,
                rank=rank,
                packed_buffer_size_bytes=PACKED_BYTES,
                packed_num_buffers=NCCL_BUFFERS,
            )
        self._engine = WeightTransferTrainerFactory.trainer_init(init_info, client=client, source=source)

    def send(self, version: int) -> None:
        """Send the current model as policy `version`. Returns when the engines have it."""
        self._client.version = version
        self._engine.send_weights()

    def close(self) -> None:
        """Leave the transfer."""
        self._engine.shutdown()


def learner_source(model: Callable[[], PreTrainedModel]) -> WeightSource:
    """Return the model's weights in the form of vLLM's trainer engines. With ZeRO-3, iterate over them on all ranks."""
    from vllm.distributed.weight_transfer import ParamMeta, WeightSource

    class LearnerSource(WeightSource):
        def metadata(self) -> list[ParamMeta]:
            return [
                ParamMeta(name, parameter.dtype, tuple(getattr(parameter, "ds_shape", parameter.shape)))
                for name, parameter in model().named_parameters()
            ]

        def __iter__(self) -> Iterator[tuple[str, Tensor]]:
            for name, tensor in full_parameters(model()):
                # ZeRO-3 frees a gathered tensor at the next parameter, but vLLM's streams may still be reading it.
                yield name, tensor.clone()

    return LearnerSource()
