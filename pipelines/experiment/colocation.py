"""Checks what `cluster.colocate` requires of the other settings, before any actor starts."""

from __future__ import annotations

from collections.abc import Iterator

from actors.citer.settings import CiterSettings
from actors.settings import LearnerSettings
from pipelines.experiment.machines import ClusterSettings, RolloutSettings
from pipelines.experiment.stages import GrpoSettings

_ZERO_STAGES = (1, 2)


def misfits(
    cluster: ClusterSettings,
    rollout: RolloutSettings,
    learner: LearnerSettings,
    grpo: GrpoSettings,
    citer: CiterSettings,
) -> Iterator[str]:
    """Yield a message for each setting that does not work when engines and learner use the same GPUs in turn."""
    shares, mode = cluster.gpus, "with cluster.colocate true"
    if not cluster.device.engines_can_sleep:
        yield f"cluster.device ({cluster.device.value}) should be gpu {mode}: an engine on the CPU cannot free its memory"
    if grpo.enabled and grpo.async_depth:
        yield f"grpo.async_depth ({grpo.async_depth}) should be 0 {mode}: the engines sleep while the learner trains"
    if grpo.enabled and grpo.extra_prompts:
        yield (
            f"grpo.extra_prompts ({grpo.extra_prompts}) should be 0 {mode}: groups that are still being decoded when a "
            "step begins would wait until it ends, and their calls would wait for a sleeping teacher"
        )
    if learner.zero_stage not in _ZERO_STAGES:
        yield (
            f"learner.zero_stage ({learner.zero_stage}) should be 1 or 2 {mode}: DeepSpeed can move all states of stages 1 "
            "and 2 off the GPU and back; it moves none of stage 0, and those of stage 3 only with its own compiled Adam"
        )
    elif learner.zero_stage == 1 and learner.dtype == "bfloat16":
        yield (
            f"learner.zero_stage (1) should be 2 with learner.dtype bfloat16 {mode}: DeepSpeed sums the gradients of stage 1 "
            "in float32 with an optimizer that it cannot move off the GPU"
        )
    if citer.enabled:
        yield f"citer.enabled (true) should be false {mode}: CITER's student cannot sleep; use a separate run for it"
    if rollout.engine.tensor_parallel > 1:
        yield (
            f"rollout.engine.tensor_parallel ({rollout.engine.tensor_parallel}) should be 1 {mode}: each rollout worker "
            "shares one GPU with one learner rank"
        )
    if rollout.workers != learner.ranks:
        yield (
            f"rollout.workers ({rollout.workers}) should be learner.ranks ({learner.ranks}) {mode}: each worker shares one "
            "GPU with one rank"
        )
    together = round(shares.rollout + shares.learner, 4)
    parts = (
        f"cluster.gpus.rollout ({shares.rollout:g}) and cluster.gpus.learner ({shares.learner:g}) should together be"
    )
    if together > 1:
        yield f"{parts} at most 1 {mode}: a worker and a rank share one GPU"
    elif learner.ranks > 1 and together <= 0.5:
        yield f"{parts} more than 0.5 {mode} and {learner.ranks} ranks: else Ray may put two of them on one GPU, which NCCL refuses"
