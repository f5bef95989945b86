"""The DeepSpeed engine: its configuration, and one optimizer step over a variable number of micro-batches."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from actors.settings import LearnerSettings, OptimizerSettings

if TYPE_CHECKING:
    from deepspeed import DeepSpeedEngine

_MAX_BUCKET_ELEMENTS = 100_000_000
_PERSISTENT_ELEMENTS = 8192
"""ZeRO-3 keeps parameters below this size (norms) whole on every rank"""


def build_engine(module: nn.Module, settings: LearnerSettings, optimizer: OptimizerSettings) -> DeepSpeedEngine:
    """Return a DeepSpeed engine that spreads `module` over the process group by ZeRO stage `settings.zero_stage`, with AdamW.

    DeepSpeed is configured for one micro-batch per step, because `backward` and `step` below decide where a step ends. The
    gradients of a step's micro-batches are summed in float32; with ZeRO stage 0, in the model's dtype.
    """
    import deepspeed

    clips_itself = settings.zero_stage > 0 or settings.dtype == "bfloat16"
    # DeepSpeed's stage 0 can only sum gradients in the model's dtype.
    sums_in_float32 = settings.zero_stage > 0
    elements = sum(parameter.numel() for parameter in module.parameters())
    largest = max(parameter.numel() for parameter in module.parameters())
    bucket = max(min(elements, _MAX_BUCKET_ELEMENTS), largest)
    config = {
        "train_micro_batch_size_per_gpu": 1,
        "gradient_accumulation_steps": 1,
        "gradient_clipping": optimizer.max_grad_norm if clips_itself else 0.0,
        "bf16": {"enabled": settings.dtype == "bfloat16"},
        **({"data_types": {"grad_accum_dtype": "fp32"}} if sums_in_float32 else {}),
        "zero_optimization": {
            "stage": settings.zero_stage,
            "reduce_bucket_size": bucket,
            "allgather_bucket_size": bucket,
            "stage3_prefetch_bucket_size": bucket,
            "stage3_param_persistence_threshold": min(_PERSISTENT_ELEMENTS, largest // 16),
            "overlap_comm": next(module.parameters()).is_cuda,
            **({"offload_optimizer": {"device": "cpu"}} if settings.offload_optimizer else {}),
        },
        "zero_force_ds_cpu_optimizer": False,  # torch's fused AdamW also runs on the host, and needs no compiler
        "steps_per_print": 10**9,
        "wall_clock_breakdown": False,
    }
    adam = torch.optim.AdamW(
        module.parameters(),
        lr=optimizer.lr,
        betas=optimizer.betas,
        eps=optimizer.eps,
        weight_decay=optimizer.weight_decay,
        fused=True,
    )
    buffers = {name: buffer.clone() for name, buffer in module.named_buffers()}
    engine, *_ = deepspeed.initialize(model=module, optimizer=adam, config=config, dist_init_required=False)
    for name, buffer in module.named_buffers():
        buffer.data = buffers[name]  # undoes DeepSpeed's cast of the rotary frequencies to bfloat16
    return engine


def backward(engine: DeepSpeedEngine, loss: Tensor, last: bool) -> None:
    """Add the gradient of `loss` to the step's gradient.

    DeepSpeed averages over ranks, so the caller multiplies `loss` by the world size. The `last` micro-batch of a step
    reduces the gradients over the ranks. If a loss is not finite, all gradients become so on every rank.
    """
    engine.set_gradient_accumulation_boundary(last)
    engine.backward(loss * (1.0 + 0.0 * loss.detach()))


def step(engine: DeepSpeedEngine, lr: float, max_grad_norm: float) -> float | None:
    """Take the optimizer step at learning rate `lr`; return the global gradient norm before clipping.

    If the gradient is not finite, no step is taken: weights and optimizer stay as they are, and all ranks return None.
    """
    for group in engine.optimizer.param_groups:
        group["lr"] = lr
    if engine.gradient_clipping() == 0.0:
        norm = float(torch.nn.utils.clip_grad_norm_(engine.module.parameters(), max_grad_norm))
        if not math.isfinite(norm):
            engine.zero_grad()
            return None
        engine.step()
        return norm
    engine.step()
    return float(engine.get_global_grad_norm()) if engine.was_step_applied() else None
