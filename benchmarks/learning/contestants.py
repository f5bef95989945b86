"""The contestants, which all take the same GRPO step: our learner, the bare model without padding, and TRL's trainer."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from actors.learner.batches import GrpoStep, PolicySequences, policy_sequences
from actors.learner.grpo import grpo_step
from actors.trajectory import Float32, TrajectoryBatch

LEARNING_RATE = 1e-6
MAX_GRAD_NORM = 1.0


@dataclass(frozen=True, eq=False)
class Task:
    """One optimizer step: the model's folder, the trajectories, and the dtype and device of the computation."""

    model: Path
    batch: TrajectoryBatch
    advantages: Float32
    dtype: str
    device: str

    @property
    def tokens(self) -> int:
        """Prompt and output tokens of the step, without padding."""
        return len(self.batch.prompt_ids) + len(self.batch.token_ids)

    def sequences(self) -> PolicySequences:
        """Return the step's rows in the learner's format."""
        return policy_sequences(self.batch, self.advantages, np.ones(len(self.batch), np.bool_))


class Contestant(Protocol):
    """Takes the step of a `Task` repeatedly."""

    def use(self, micro_batch: int) -> None:
        """Take the next steps in micro-batches of this size. Each contestant has its own unit."""

    def step(self) -> float:
        """Take the step; return its gradient norm, which shows whether all contestants compute the same."""


class OurLearner:
    """`actors.learner.trainer.Trainer` on one rank, with ZeRO stage 0, because one rank has nothing to spread.

    The size of a micro-batch is in tokens.
    """

    def __init__(self, task: Task) -> None:
        from actors.learner.distributed import init_distributed
        from actors.learner.trainer import Trainer
        from actors.settings import GrpoLossSettings, LearnerSettings, OptimizerSettings
        from cluster.devices import Device
        from cluster.ports import free_port

        init_distributed(0, 1, "127.0.0.1", free_port(), Device.GPU if task.device == "cuda" else Device.CPU)
        settings = LearnerSettings(dtype=task.dtype, zero_stage=0)  # type: ignore[arg-type]
        self._task = task
        self._step = GrpoStep(
            advantages=task.advantages,
            trainable=np.ones(len(task.batch), np.bool_),
            minibatches=[np.arange(len(task.batch))],
            loss=GrpoLossSettings(kl_coefficient=0.0),
            temperature=1.0,
            version=0,
        )
        self._trainer = Trainer(settings, 0, 1)
        self._trainer.load(str(task.model), OptimizerSettings(lr=LEARNING_RATE, max_grad_norm=MAX_GRAD_NORM), 1000)

    def use(self, micro_batch: int) -> None:
        settings = self._trainer.settings
        self._trainer.settings = settings.model_copy(update={"max_tokens_per_micro_batch": micro_batch})

    def step(self) -> float:
        return grpo_step(self._trainer, self._task.batch, self._step).grad_norm


class BareModel:
    """Forward and backward pass of the transformers model, row by row, with logits at the trained positions only.

    It is a lower bound: no padding, no optimizer and no metrics. Its loss is just -advantage x log-prob. That has the
    objective's gradient if all ratios are 1.
    """

    def __init__(self, task: Task) -> None:
        from transformers import AutoModelForCausalLM

        dtype = getattr(torch, task.dtype)
        self._model = AutoModelForCausalLM.from_pretrained(
            task.model, dtype=dtype, attn_implementation="sdpa", use_safetensors=True, trust_remote_code=False
        )
        self._model.to(task.device).train()
        policy = task.sequences()
        offsets, mask = policy.sequences.offsets, policy.sequences.loss_mask
        self._trained = int(mask.sum())
        self._rows: list[tuple[Tensor, Tensor, float]] = []
        for row, advantage in enumerate(task.advantages.tolist()):
            part = slice(offsets[row], offsets[row + 1])
            ids = torch.from_numpy(policy.sequences.token_ids[part].astype(np.int64)).to(task.device)
            targets = torch.from_numpy(np.flatnonzero(mask[part])).to(task.device)
            self._rows.append((ids, targets, advantage))

    def use(self, micro_batch: int) -> None:
        """Do nothing, because a micro-batch is always one row."""

    def step(self) -> float:
        for ids, targets, advantage in self._rows:
            logits = self._model(input_ids=ids[None], logits_to_keep=targets - 1, use_cache=False).logits[0]
            negative_logprobs = functional.cross_entropy(logits.float(), ids[targets], reduction="sum")
            (negative_logprobs * (advantage / self._trained)).backward()
        norm = torch.nn.utils.get_total_norm([p.grad for p in self._model.parameters() if p.grad is not None])
        self._model.zero_grad()
        return float(norm)


class TrlTrainer:
    """TRL's `GRPOTrainer`: its loss and backward pass, clipping and fused AdamW. The size of a micro-batch is in rows.

    The batch has the trainer's layout after generation: prompts padded on the left and completions on the right, to the
    longest of the batch. The tool mask leaves out the teacher's tokens. Generation and rewards are not run.
    """

    def __init__(self, task: Task) -> None:
        from datasets import Dataset
        from transformers import AutoModelForCausalLM, AutoTokenizer
        from trl import GRPOConfig, GRPOTrainer

        from actors.tiny_models import write_tokenizer

        folder = Path(tempfile.mkdtemp(prefix="trl-"))
        write_tokenizer(folder, "text")
        self._task = task
        config = GRPOConfig(
            output_dir=str(folder / "out"),
            use_cpu=task.device == "cpu",
            bf16=False,
            gradient_checkpointing=False,
            per_device_train_batch_size=len(task.batch),
            num_generations=2,
            learning_rate=LEARNING_RATE,
            max_grad_norm=MAX_GRAD_NORM,
            optim="adamw_torch_fused",
            beta=0.0,
            temperature=1.0,
            report_to="none",
            save_strategy="no",
            logging_strategy="no",
        )
        dtype = getattr(torch, task.dtype)
        model = AutoModelForCausalLM.from_pretrained(
            task.model, dtype=dtype, attn_implementation="sdpa", use_safetensors=True, trust_remote_code=False
        )
        self._trainer = GRPOTrainer(
            model,
            reward_funcs=lambda completions, **_: [0.0] * len(completions),
            args=config,
            train_dataset=Dataset.from_dict({"prompt": ["1+1"] * len(task.batch)}),
            processing_class=AutoTokenizer.from_pretrained(folder, trust_remote_code=False),
        )
        self._trainer._prepare_inputs = lambda inputs: inputs
        self._trainer.create_optimizer()
        self._model, self._optimizer = self._trainer.accelerator.prepare(model, self._trainer.optimizer)
        self._whole = self._padded()
        self.use(len(task.batch))

    def use(self, micro_batch: int) -> None:
        starts = range(0, len(self._task.batch), micro_batch)
        self._micro_batches = [
            {
                name: column if column.dim() == 0 else column[start : start + micro_batch]
                for name, column in self._whole.items()
            }
            for start in starts
        ]
        self._trainer.current_gradient_accumulation_steps = self._trainer.args.steps_per_generation = len(starts)

    def step(self) -> float:
        for inputs in self._micro_batches:
            self._trainer.training_step(self._model, inputs, None)
        norm = self._trainer.accelerator.clip_grad_norm_(self._model.parameters(), MAX_GRAD_NORM)
        self._optimizer.step()
        self._model.zero_grad()
        return float(norm)

    def _padded(self) -> dict[str, Tensor]:
        batch, device = self._task.batch, self._task.device
        rows = list(batch)

        def padded(columns: Sequence[np.ndarray], left: bool, dtype: torch.dtype) -> Tensor:
            width = max(map(len, columns))
            cells = torch.zeros((len(columns), width), dtype=dtype)
            for row, column in enumerate(columns):
                part = slice(width - len(column), width) if left else slice(0, len(column))
                cells[row, part] = torch.from_numpy(np.ascontiguousarray(column)).to(dtype)
            return cells.to(device)

        ones: list[np.ndarray] = [np.ones(len(row.prompt_ids)) for row in rows]
        trained = [((row.sources == 0) & ~row.constrained) for row in rows]
        return {
            "prompt_ids": padded([row.prompt_ids for row in rows], True, torch.long),
            "prompt_mask": padded(ones, True, torch.long),
            "completion_ids": padded([row.token_ids for row in rows], False, torch.long),
            "completion_mask": padded([np.ones(len(row.token_ids)) for row in rows], False, torch.long),
            "tool_mask": padded(trained, False, torch.long),
            "old_per_token_logps": padded([row.logprobs for row in rows], False, torch.float32),
            "advantages": torch.from_numpy(self._task.advantages).to(device),
            "num_items_in_batch": torch.tensor(float(sum(int(mask.sum()) for mask in trained)), device=device),
        }


CONTESTANTS: dict[str, Callable[[Task], Contestant]] = {"ours": OurLearner, "floor": BareModel, "trl": TrlTrainer}
