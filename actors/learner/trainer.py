"""One learner rank: it loads a model, takes supervised and GRPO steps, and writes weights and checkpoints."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from actors.learner import checkpoint
from actors.learner.batches import Int64, TokenSequences
from actors.learner.engine import build_engine, step
from actors.learner.errors import NonFiniteStepsError
from actors.learner.export import export_model, gather_weights
from actors.learner.kernels import compile_parts, use_liger
from actors.learner.logprobs import Chunking
from actors.learner.memory import move_back, move_to_host
from actors.learner.model import ModelSpec, PackedCausalLM, load_model
from actors.learner.packing import PackedRows, empty_rows, pack, plan_micro_batches
from actors.learner.schedule import learning_rate
from actors.settings import LearnerSettings, OptimizerSettings
from actors.trajectory import Bool

if TYPE_CHECKING:
    from deepspeed import DeepSpeedEngine


class Trainer:
    """A rank of the learner. Call `init_distributed` first. Every rank must make the same method calls in the same order."""

    def __init__(self, settings: LearnerSettings, rank: int, world_size: int) -> None:
        from deepspeed.accelerator import get_accelerator

        self.settings = settings
        self.rank = rank
        self.world_size = world_size
        self.device = torch.device(get_accelerator().current_device_name())
        self._engine: DeepSpeedEngine | None = None
        self.reference: PackedCausalLM | None = None
        self._optimizer = OptimizerSettings()
        self._total_steps = 1
        self._step = 0
        self._non_finite_in_a_row = 0
        self._empty = empty_rows(self.device)

    @property
    def steps_taken(self) -> int:
        """Return the optimizer steps since `load`, including skipped steps and those restored by `load_state`."""
        return self._step

    def load(
        self,
        model: str | ModelSpec,
        optimizer: OptimizerSettings,
        total_steps: int,
        reference: str | None = None,
        seed: int = 0,
    ) -> None:
        """Free the previous engine, and build one for a new stage from a Hugging Face folder.

        `total_steps` is the length of the learning-rate schedule. `reference` is the folder of the frozen model of the KL
        term; each rank holds that model whole, in the learner's dtype. `seed` determines weights that are drawn at random.
        Raises `LearnerRefusal` if the learner cannot train the model, and `KernelError` if kernels are not available.
        """
        self.unload()
        torch.manual_seed(seed)
        dtype = getattr(torch, self.settings.dtype)
        spec = ModelSpec(model) if isinstance(model, str) else model
        chunking = Chunking(self.settings.logprob_chunk_tokens, self.settings.logprob_chunk_mib * 2**20)
        if reference is not None:
            self.reference = load_model(ModelSpec(reference), dtype, self.device, chunking)
            self.reference.eval().requires_grad_(False)
        module = load_model(spec, torch.float32, self.device, chunking, compute_dtype=dtype)
        if self.settings.liger_kernels:
            use_liger(module.model)
        if self.settings.torch_compile:
            compile_parts(module.model)
        if self.settings.gradient_checkpointing:
            reentrant = self.settings.zero_stage == 3
            module.model.gradient_checkpointing_enable({"use_reentrant": reentrant})
            if reentrant:
                module.model.enable_input_require_grads()
        self._engine = build_engine(module, self.settings, optimizer)
        self._engine.train()
        self._optimizer, self._total_steps, self._step = optimizer, total_steps, 0
        self._non_finite_in_a_row = 0

    def unload(self) -> None:
        """Free the engine and the reference."""
        if self._engine is not None:
            self._engine.destroy()
        self._engine = self.reference = None
        gc.collect()
        self._empty_cache()

    def free_memory(self, keep_weights: bool) -> None:
        """Move everything on the GPU to the host, except the policy's weights if `keep_weights`.

        Weights and states can still be handed out, exported and saved. Call `take_memory` before the next step. Does nothing
        if no model is loaded.
        """
        if self._engine is not None:
            move_to_host(self._engine, keep_weights)
        if self.reference is not None:
            self.reference.to("cpu")
        self._empty_cache()

    def take_memory(self) -> None:
        """Undo `free_memory`."""
        if self._engine is not None:
            move_back(self._engine)
        if self.reference is not None:
            self.reference.to(self.device)

    def _empty_cache(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    @property
    def engine(self) -> DeepSpeedEngine:
        if self._engine is None:
            raise RuntimeError("no model is loaded: call load first")
        return self._engine

    def update(self) -> tuple[float, float | None]:
        """Take an optimizer step with the accumulated gradients; return its learning rate and the gradient norm before clipping.

        A gradient that is not finite is dropped: the weights stay, the norm is None, and the schedule goes on. Raises
        NonFiniteStepsError after `max_non_finite_steps` such steps in a row.
        """
        lr = learning_rate(self._optimizer, self._step, self._total_steps)
        norm = step(self.engine, lr, self._optimizer.max_grad_norm)
        self._step += 1
        self._non_finite_in_a_row = 0 if norm is not None else self._non_finite_in_a_row + 1
        if self._non_finite_in_a_row >= self.settings.max_non_finite_steps:
            raise NonFiniteStepsError(
                f"the gradients of {self._non_finite_in_a_row} optimizer steps in a row are not finite. With so "
                "many (learner.max_non_finite_steps) the run ends. None of these steps was taken, so the weights did not change. "
                "Look at reward/mean, learner/ratio_max and learner/logprob_gap of the steps before, lower the stage's "
                "optimizer.lr or optimizer.max_grad_norm, or try learner.dtype=float32"
            )
        return lr, norm

    def skip_step(self) -> None:
        """Skip a step that has nothing to learn from. The learning-rate schedule goes on."""
        self._step += 1

    def plan(self, batch: TokenSequences, rows: Int64) -> list[Int64]:
        """Return this rank's micro-batches of `rows`. Some may be empty, so that every rank has the same number."""
        lengths = np.diff(batch.offsets)[rows]
        plan = plan_micro_batches(lengths, self.world_size, self.settings.max_tokens_per_micro_batch)
        return [rows[chosen] for chosen in plan[self.rank]]

    def pack(self, batch: TokenSequences, rows: Int64, mask: Bool | None = None) -> PackedRows:
        """Return one packed micro-batch, or a stand-in if `rows` is empty. `mask` [N], if given, replaces the loss mask."""
        return pack(batch, rows, self.device, mask) if len(rows) else self._empty

    def weights(self, copy: bool = True) -> dict[str, NDArray]:
        """Return all weights on rank 0, and an empty dict on others; see `gather_weights`."""
        return gather_weights(self.engine.module.model, keep=self.rank == 0, copy=copy)

    def export(self, path: str | Path) -> None:
        """Write the model as a Hugging Face folder, without a tokenizer. Returns on all ranks when the folder is complete."""
        from deepspeed import comm

        export_model(self.engine.module.model, Path(path), writer=self.rank == 0)
        comm.barrier()

    def save_state(self, path: str | Path) -> None:
        """Write weights, optimizer and step to a folder on a disk that all ranks share."""
        checkpoint.save_state(self.engine, Path(path), self._step)

    def load_state(self, path: str | Path) -> None:
        """Continue from a saved state, of any number of ranks, ZeRO stage and dtype. Raises CheckpointError for another model's."""
        self._step = checkpoint.load_state(self.engine, Path(path))
