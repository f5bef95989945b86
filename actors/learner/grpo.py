"""GRPO updates: mini-batch after mini-batch through the clipped objective (paper section 2.3)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from actors.learner.batches import GrpoStep, Int64, PolicySequences, policy_sequences
from actors.learner.engine import backward
from actors.learner.losses import PolicyTerms, k3, policy_terms, row_weights, target_counts
from actors.learner.meters import Meters
from actors.learner.metrics import GrpoMetrics
from actors.learner.packing import PackedRows
from actors.learner.scoring import own_logprobs
from actors.learner.trainer import Trainer
from actors.settings import GrpoLossSettings
from actors.trajectory import Bool, Float32, TrajectoryBatch

_STUDENT_SUMS = ("gap", "gap_tokens", "staleness", "student_tokens")
_TIS_SUMS = ("tis_weight", "tis_truncated")
_SUMS = ("loss", "pg_loss", "kl", "entropy", "clipped", "ratio", "behaviour_kl", "tokens", *_STUDENT_SUMS, *_TIS_SUMS)
_MAXIMA = ("ratio_max", "tis_ratio_max", "staleness_max")


def grpo_step(trainer: Trainer, batch: TrajectoryBatch, step: GrpoStep) -> GrpoMetrics:
    """Take one optimizer step for each mini-batch of `batch`, in order; return their metrics. Call it on all ranks.

    Without a KL term, rows with advantage 0 are left out, because their gradient is 0. They still count in the
    denominators of the objective, which are those of the whole mini-batch. A mini-batch of only such rows takes no step.
    Nor does one whose gradient is not finite.

    With `tis_cap`, the proximal log-probs are the learner's own before the first update. For the first mini-batch they come
    from its own forward pass; for later ones, from an extra forward pass before the first update. The KL term is the mean
    over the sampled tokens, without importance weights. Raises ValueError for a KL coefficient without a reference model.
    """
    started = perf_counter()
    settings, temperature = step.loss, step.temperature
    policy = policy_sequences(batch, step.advantages, step.trainable, settings.train_teacher_tokens)
    minibatches = [np.asarray(rows, np.int64) for rows in step.minibatches]
    sequences, kl_coefficient = policy.sequences, settings.kl_coefficient
    if kl_coefficient > 0 and trainer.reference is None:
        raise ValueError("a KL coefficient needs a reference model: pass one to load")
    lengths = np.diff(sequences.offsets)
    counts = target_counts(sequences, np.arange(len(sequences)))
    learnable = (counts > 0) & ((policy.advantages != 0) | (kl_coefficient > 0))
    all_rows = np.concatenate(minibatches)
    given = _given_logprobs(trainer, policy, minibatches, learnable, settings, temperature)
    meters = Meters(trainer.device)
    grad_norms: list[float] = []
    lr, micro_batches, context_tokens, used_rows, non_finite = 0.0, 0, 0, 0, 0
    for minibatch in minibatches:
        rows = minibatch[learnable[minibatch]]
        if not len(rows):
            trainer.skip_step()
            continue
        weights = np.zeros(len(sequences), np.float32)
        weights[minibatch] = row_weights(counts[minibatch], settings.aggregation)
        plan = trainer.plan(sequences, rows)
        of_minibatch = Meters(trainer.device)
        for index, chosen in enumerate(plan):
            packed = trainer.pack(sequences, chosen)
            last = index == len(plan) - 1
            if not len(chosen):
                loss, *_ = trainer.engine(packed, temperature, _nothing)
                backward(trainer.engine, loss, last)
                continue
            reference = _reference_logprobs(trainer, packed, temperature) if kl_coefficient > 0 else None
            own_is_proximal = settings.tis_cap is not None and not grad_norms
            token = _TokenColumns(packed, policy, given, weights, reference, settings, own_is_proximal)
            loss, logprobs, entropies = trainer.engine(packed, temperature, token.objective, True)
            backward(trainer.engine, loss * trainer.world_size, last)
            token.meter(of_minibatch, logprobs, entropies, step.version, first=not grad_norms)
        lr, grad_norm = trainer.update()
        if grad_norm is None:
            non_finite += 1
        else:
            grad_norms.append(grad_norm)
            meters.include(of_minibatch)
        micro_batches += len(plan)
        context_tokens += int(lengths[rows].sum())
        used_rows += len(rows)
    total = meters.reduce(_SUMS, _MAXIMA, trainer.world_size)
    steps, tokens, seconds = max(len(grad_norms), 1), max(total["tokens"], 1.0), perf_counter() - started
    return GrpoMetrics(
        loss=total["loss"] / steps,
        pg_loss=total["pg_loss"] / steps,
        kl=total["kl"] / tokens,
        entropy=total["entropy"] / tokens,
        clip_fraction=total["clipped"] / tokens,
        ratio_mean=total["ratio"] / tokens,
        ratio_max=total["ratio_max"],
        tis_weight_mean=total["tis_weight"] / tokens,
        tis_ratio_max=total["tis_ratio_max"],
        tis_truncated_share=total["tis_truncated"] / tokens,
        behaviour_kl=total["behaviour_kl"] / tokens,
        logprob_gap=total["gap"] / max(total["gap_tokens"], 1.0),
        staleness=total["staleness"] / max(total["student_tokens"], 1.0),
        staleness_max=total["staleness_max"],
        grad_norm=float(np.mean(grad_norms)) if grad_norms else 0.0,
        lr=lr,
        optimizer_steps=len(grad_norms),
        non_finite_steps=non_finite,
        skipped_rows=len(all_rows) - used_rows,
        trained_tokens=int(total["tokens"]),
        policy_tokens=int(counts[all_rows].sum()),
        teacher_tokens=int(policy.teacher_tokens[all_rows].sum()),
        context_tokens=context_tokens,
        micro_batches=micro_batches,
        tokens_per_s=context_tokens / seconds,
        seconds=seconds,
    )


@dataclass(frozen=True, slots=True, eq=False)
class _GivenLogprobs:
    """Log-probs that the policy's are compared with, each [N]. Values of tokens that do not need them have no meaning."""

    behaviour: Float32
    proximal: Float32


class _TokenColumns:
    """The columns that the objective needs for a micro-batch's M targets, each [M] on the device."""

    def __init__(
        self,
        packed: PackedRows,
        policy: PolicySequences,
        given: _GivenLogprobs,
        weights: Float32,
        reference_logprobs: Tensor | None,
        settings: GrpoLossSettings,
        own_is_proximal: bool,
    ) -> None:
        columns, rows = packed.target_columns, packed.target_rows

        def tensor(values: NDArray) -> Tensor:
            return torch.from_numpy(values).to(packed.targets.device, non_blocking=True)

        self.settings = settings
        self.behaviour_logprobs = tensor(given.behaviour[columns])
        self.proximal_logprobs = None if own_is_proximal else tensor(given.proximal[columns])
        """None if the proximal log-probs are those of this forward pass"""
        self.reference_logprobs = reference_logprobs
        self.advantages = tensor(policy.advantages[rows])
        self.weights = tensor(weights[rows])
        self.student = tensor((~policy.recompute[columns]).astype(np.float32))
        self.versions = tensor(policy.versions[columns])

    def objective(self, logprobs: Tensor, part: slice) -> Tensor:
        """Return the summed loss of the targets in `part`; `logprobs` are theirs."""
        return self._losses(self._policy_terms(logprobs, part), logprobs, part).sum()

    def meter(self, meters: Meters, logprobs: Tensor, entropies: Tensor, version: int, first: bool) -> None:
        """Add all targets to the meters. The gap to the rollout's log-probs is measured only before the `first` update."""
        everything = slice(None)
        terms = self._policy_terms(logprobs, everything)
        meters.add("loss", self._losses(terms, logprobs, everything))
        meters.add("pg_loss", terms.loss * self.weights)
        if self.reference_logprobs is not None:
            meters.add("kl", k3(logprobs, self.reference_logprobs))
        meters.add("entropy", entropies)
        meters.add("clipped", terms.clipped)
        meters.add("ratio", terms.ratio)
        meters.top("ratio_max", terms.ratio)
        meters.add("behaviour_kl", terms.behaviour_kl)
        meters.add("tis_weight", terms.tis_weight)
        meters.add("tis_truncated", terms.tis_weight < terms.tis_ratio)
        meters.top("tis_ratio_max", terms.tis_ratio)
        meters.add("tokens", torch.ones_like(logprobs))
        meters.add("student_tokens", self.student)
        staleness = (version - self.versions) * self.student
        meters.add("staleness", staleness)
        meters.top("staleness_max", staleness)
        if first:
            meters.add("gap", (logprobs - self.behaviour_logprobs).abs() * self.student)
            meters.add("gap_tokens", self.student)

    def _policy_terms(self, logprobs: Tensor, part: slice) -> PolicyTerms:
        proximal = logprobs.detach() if self.proximal_logprobs is None else self.proximal_logprobs[part]
        behaviour, advantages = self.behaviour_logprobs[part], self.advantages[part]
        return policy_terms(logprobs, proximal, behaviour, advantages, self.settings)

    def _losses(self, terms: PolicyTerms, logprobs: Tensor, part: slice) -> Tensor:
        losses = terms.loss
        if self.reference_logprobs is not None:
            losses = losses + self.settings.kl_coefficient * k3(logprobs, self.reference_logprobs[part])
        return losses * self.weights[part]


def _nothing(logprobs: Tensor, part: slice) -> Tensor:
    """The objective of a rank without rows. The rank takes part in the collectives, but adds no gradient."""
    return logprobs.sum() * 0.0


@torch.no_grad()
def _reference_logprobs(trainer: Trainer, packed: PackedRows, temperature: float) -> Tensor:
    assert trainer.reference is not None
    _, logprobs, _ = trainer.reference(packed, temperature)
    return logprobs


def _given_logprobs(
    trainer: Trainer,
    policy: PolicySequences,
    minibatches: Sequence[Int64],
    learnable: Bool,
    settings: GrpoLossSettings,
    temperature: float,
) -> _GivenLogprobs:
    """Return the behaviour and proximal log-probs. Before any update, the learner computes those that the rollout does not give."""
    learned = [minibatch[learnable[minibatch]] for minibatch in minibatches]
    learned = [rows for rows in learned if len(rows)]
    rows = np.unique(np.concatenate(learned)) if learned else np.zeros(0, np.int64)
    mask, offsets = policy.recompute, policy.sequences.offsets
    running = np.concatenate([[0], np.cumsum(mask)])
    rows = rows[running[offsets[rows + 1]] > running[offsets[rows]]]
    if settings.tis_cap is not None:
        mask = policy.sequences.loss_mask
        rows = np.unique(np.concatenate([rows, *learned[1:]]))
    own = own_logprobs(trainer, policy.sequences, rows, mask, temperature) if len(rows) else policy.behaviour_logprobs
    behaviour = np.where(policy.recompute, own, policy.behaviour_logprobs)
    return _GivenLogprobs(behaviour, behaviour if settings.tis_cap is None else own)
