"""The GRPO objective per token, and the weights that make its mean (paper section 2.3)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from actors.learner.batches import Int64, TokenSequences
from actors.trajectory import Float32

if TYPE_CHECKING:
    from actors.settings import GrpoLossSettings

_MAX_LOG_RATIO = 20.0


@dataclass(frozen=True, eq=False)
class PolicyTerms:
    """The clipped objective at M tokens; all [M] float32."""

    loss: Tensor
    ratio: Tensor
    """policy / proximal"""
    clipped: Tensor
    """bool: the clipped objective is the smaller one, so the token gives no gradient"""
    behaviour_kl: Tensor
    """k3 estimate of KL(behaviour || policy)"""
    tis_ratio: Tensor
    """proximal / behaviour, before truncation"""
    tis_weight: Tensor
    """the truncated ratio, by which the token's loss was multiplied"""


def policy_terms(
    logprobs: Tensor,
    proximal_logprobs: Tensor,
    behaviour_logprobs: Tensor,
    advantages: Tensor,
    settings: GrpoLossSettings,
) -> PolicyTerms:
    """Return PPO's clipped loss of each token in its decoupled form (paper section 2.3); all tensors are [M] float32.

    The loss of a token with advantage A is -w min(r A, clip(r, 1 - low, 1 + high) A), where

    r = policy / proximal, which has the gradient, and w = min(proximal / behaviour, `tis_cap`), which has none.

    With a dual clip c, the loss is at most -w c A where A < 0.

    The behaviour policy sampled the token. The proximal policy is the learner's before its first update on the batch. The
    clip around the proximal policy bounds how far these updates go, however old the sample is. The weight w corrects for the
    difference between the two policies. The cap bounds its variance: a token whose ratio exceeds the cap counts too little.
    Without a cap, pass the behaviour log-probs as the proximal ones: then w is 1, and this is plain PPO.
    """
    ratio = _log_ratio(logprobs, proximal_logprobs).exp()
    free = -ratio * advantages
    bounded = -ratio.clamp(1.0 - settings.clip_low, 1.0 + settings.clip_high) * advantages
    loss = torch.maximum(free, bounded)
    if settings.dual_clip is not None:
        loss = torch.where(advantages < 0, torch.minimum(loss, -settings.dual_clip * advantages), loss)
    with torch.no_grad():
        clipped = bounded > free
        off_policy = _log_ratio(logprobs, behaviour_logprobs)
        behaviour_kl = off_policy.exp() - 1.0 - off_policy
        tis_ratio = _log_ratio(proximal_logprobs, behaviour_logprobs).exp()
        tis_weight = tis_ratio.clamp(max=settings.tis_cap or math.inf)
    return PolicyTerms(loss * tis_weight, ratio.detach(), clipped, behaviour_kl, tis_ratio, tis_weight)


def _log_ratio(logprobs: Tensor, other_logprobs: Tensor) -> Tensor:
    return (logprobs - other_logprobs).clamp(-_MAX_LOG_RATIO, _MAX_LOG_RATIO)


def k3(logprobs: Tensor, reference_logprobs: Tensor) -> Tensor:
    """Return the low-variance (k3) estimate of KL(policy || reference) at each token, in nats, from log-probs of any shape.

    It is exp(d) - d - 1 with d = log reference - log policy.
    """
    difference = _log_ratio(reference_logprobs, logprobs)
    return difference.exp() - difference - 1.0


def target_counts(batch: TokenSequences, rows: Int64) -> Int64:
    """Return [len(rows)] the number of targets of each row. A row's first token never counts."""
    starts = batch.offsets[:-1]
    running = np.concatenate([[0], np.cumsum(batch.loss_mask)])
    counts = running[batch.offsets[1:]] - running[np.minimum(starts + 1, batch.offsets[1:])]
    return counts[rows].astype(np.int64)


def row_weights(counts: Int64, aggregation: str) -> Float32:
    """Return [n] the weight of each target of a row, so that the weighted sum over all targets is the mean.

    token_mean: 1 / all targets. sequence_mean: 1 / (rows with a target x targets of this row). `counts` [n] holds the
    targets of each row of the whole mini-batch, over all ranks and micro-batches. So the gradient does not depend on how the
    mini-batch is split.
    """
    if aggregation == "token_mean":
        return np.full(len(counts), 1.0 / max(int(counts.sum()), 1), np.float32)
    return (1.0 / (np.maximum(counts, 1) * max(int((counts > 0).sum()), 1))).astype(np.float32)
