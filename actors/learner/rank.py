"""The Ray actor around one rank's trainer. It fetches batches from the object store, and puts weights there."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np

from actors.learner.batches import GrpoStep, Int64, TokenSequences
from actors.learner.errors import LearnerRefusal
from actors.learner.learned import Learned
from actors.learner.metrics import GrpoMetrics, SftMetrics
from actors.settings import LearnerSettings, OptimizerSettings
from actors.trajectory import Float32, TrajectoryBatch
from cluster.devices import Device, own_gpus
from cluster.loading import loading
from cluster.metrics.publisher import Publishing, Reading, publish_actor
from cluster.metrics.states import ActorState, StateClock
from cluster.names import title_of_actor
from cluster.ports import free_port
from cluster.stacks import show_stacks_on_signal

if TYPE_CHECKING:
    import ray

    from actors.learner.model import ModelSpec
    from actors.learner.trainer import Trainer
    from actors.learner.weight_sender import EngineClient, WeightSender


class LearnerRank:
    """One rank of a `LearnerGroup`. The group makes it a Ray actor, and makes the same calls on all ranks."""

    def __init__(
        self, settings: LearnerSettings, rank: int, device: Device, publishing: Publishing | None = None
    ) -> None:
        show_stacks_on_signal()
        self._settings, self._rank, self._device = settings, rank, device
        self._trainer: Trainer | None = None
        self._sender: WeightSender | None = None
        self._states, self._learned = StateClock("learner"), Learned()
        self._states.begin(ActorState.STARTING)
        publish_actor(publishing, self.readings)

    def __repr__(self) -> str:
        return title_of_actor(type(self).__name__)

    def readings(self) -> Iterator[Reading]:
        """Yield what the rank's metrics show now. What all ranks have in common, rank 0 shows."""
        yield from self._states.readings()
        if self._rank == 0:
            yield from self._learned.readings()

    def address(self) -> tuple[str, int]:
        """Return this node's address and a free port, where the process group can meet."""
        import ray

        return ray.util.get_node_ip_address(), free_port()

    def join(self, address: tuple[str, int]) -> None:
        """Join the process group that meets at `address`."""
        with loading():
            import torch

            from actors.learner.distributed import init_distributed
            from actors.learner.trainer import Trainer

        torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
        init_distributed(self._rank, self._settings.ranks, *address, self._device)
        self._trainer = Trainer(self._settings, self._rank, self._settings.ranks)
        self._states.end(ActorState.STARTING)

    @property
    def trainer(self) -> Trainer:
        if self._trainer is None:
            raise RuntimeError("the rank is in no process group: call join first")
        return self._trainer

    @contextmanager
    def _in_memory(self) -> Iterator[None]:
        """Raise `LearnerRefusal`, which says what to change, if the block runs out of GPU memory."""
        import torch

        try:
            yield
        except torch.OutOfMemoryError as error:
            raise LearnerRefusal(
                f"learner rank {self._rank} ran out of GPU memory: lower learner.max_tokens_per_micro_batch, set "
                f"learner.gradient_checkpointing or learner.offload_optimizer, or raise learner.ranks. {error}"
            ) from None

    def check(self, student: str) -> None:
        """Raise LearnerRefusal if the learner could not train and export the model in the folder `student`."""
        from actors.learner.model import check_model

        check_model(student)

    def load(
        self,
        model: str | ModelSpec,
        optimizer: OptimizerSettings,
        total_steps: int,
        reference: str | None,
        seed: int,
    ) -> None:
        with self._in_memory():
            self.trainer.load(model, optimizer, total_steps, reference, seed)

    def free_memory(self, keep_weights: bool) -> None:
        self.trainer.free_memory(keep_weights)

    def take_memory(self) -> None:
        self.trainer.take_memory()

    def sft_steps(self, batch: TokenSequences, rows_per_step: Sequence[Int64]) -> list[SftMetrics]:
        from actors.learner.sft import sft_steps

        with self._states.within(ActorState.LEARNING), self._in_memory():
            taken = sft_steps(self.trainer, batch, rows_per_step)
        self._learned.sft(taken)
        return taken

    def grpo_step(self, batches: Sequence[ray.ObjectRef[TrajectoryBatch]], step: GrpoStep) -> GrpoMetrics:
        """Take a step on the trajectories of all `batches`. Rows are numbered over all of them, in order."""
        import ray

        from actors.learner.grpo import grpo_step

        with self._states.within(ActorState.LEARNING), self._in_memory():
            taken = grpo_step(self.trainer, TrajectoryBatch.concatenate(ray.get(list(batches))), step)
        self._learned.grpo(taken)
        return taken

    def probe_text(self) -> TokenSequences:
        """See `actors.learner.fidelity.probe_text`."""
        from actors.learner.fidelity import probe_text

        return probe_text(self.trainer.engine.module.model.config)

    def logprobs(self, text: TokenSequences) -> Float32:
        """Return [N] the log-probs of the targets of `text`, at temperature 1, and 0 elsewhere."""
        from actors.learner.scoring import own_logprobs

        return own_logprobs(self.trainer, text, np.arange(len(text)), text.loss_mask, temperature=1.0)

    def weights(self) -> list[ray.ObjectRef]:
        """Return a reference to the weights on rank 0, and an empty list on other ranks. Ray does not fetch a reference in a list."""
        import ray

        with self._states.within(ActorState.SYNCING):
            weights = self.trainer.weights(copy=False)  # the object store makes its own copy
            return [ray.put(weights)] if weights else []

    def gpus(self) -> set[str]:
        """Return this rank's GPUs, as `own_gpus` names them."""
        return own_gpus()

    def connect_engines(self, client: EngineClient) -> None:
        """Leave any earlier transfer, and connect to the engines of `client`."""
        from actors.learner.weight_sender import WeightSender

        if self._sender is not None:
            self._sender.close()
        self._sender = WeightSender(lambda: self.trainer.engine.module.model, self._rank, client, self.address())

    def send_weights(self, version: int) -> None:
        """Send the weights, as policy `version`, to the engines of the last `connect_engines`."""
        if self._sender is None:
            raise RuntimeError("no engines to send weights to: call connect_engines first")
        with self._states.within(ActorState.SYNCING):
            self._sender.send(version)

    def export(self, path: str) -> None:
        self.trainer.export(path)

    def save_state(self, path: str) -> None:
        self.trainer.save_state(path)

    def load_state(self, path: str) -> None:
        self.trainer.load_state(path)
