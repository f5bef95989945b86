"""Log-probs of given tokens under the LM head. One chunk of positions at a time, so no tokens x vocabulary matrix exists."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx
from torch.nn import functional

Objective = Callable[[Tensor, slice], Tensor]
"""a function of m log-probs [m] float32 and the slice of the M positions that they belong to. It returns the sum of their
losses, differentiable"""


@dataclass(frozen=True, slots=True)
class Chunking:
    """Bounds on the positions whose logits over the vocabulary exist at one time. Both hold, but one position is always allowed."""

    tokens: int
    logits_bytes: int
    """bytes of the float32 logits"""

    def positions(self, vocabulary: int) -> int:
        """Return the number of positions of one chunk, at least 1."""
        return max(min(self.tokens, self.logits_bytes // (4 * vocabulary)), 1)


@torch.no_grad()
def target_logprobs(
    hidden: Tensor,
    weight: Tensor,
    targets: Tensor,
    temperature: float,
    chunking: Chunking,
    with_entropy: bool = False,
    softcap: float | None = None,
) -> tuple[Tensor, Tensor]:
    """Return log-softmax(logits / temperature) at `targets`, and the distributions' entropies in nats.

    The logits are hidden weight^T. With a `softcap`, they become softcap x tanh(logits / softcap).

    `hidden` is [M, d], `weight` [V, d] and `targets` [M] int64. Both results are [M] float32 without gradient. The
    entropies are 0 unless `with_entropy` is set.
    """
    scores = _Scores.empty(hidden)
    for chunk in _chunks(len(hidden), chunking.positions(len(weight))):
        scores.write(chunk, _logits(hidden[chunk], weight, softcap), targets[chunk], temperature, with_entropy)
    return scores.logprobs, scores.entropies


def target_loss(
    hidden: Tensor,
    weight: Tensor,
    targets: Tensor,
    temperature: float,
    chunking: Chunking,
    objective: Objective,
    with_entropy: bool = False,
    softcap: float | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the sum of `objective` over the targets, and the log-probs and entropies of `target_logprobs`.

    The sum can be differentiated once. Its gradient is computed while a chunk's logits exist, so the logits are computed only
    once. The backward pass only scales the stored gradients of `hidden` [M, d] and `weight` [V, d].
    """
    positions = chunking.positions(len(weight))
    return _TargetLoss.apply(hidden, weight, targets, temperature, positions, objective, with_entropy, softcap)


class LogprobHead(nn.Module):
    """An LM head that scores given tokens instead of returning logits.

    It owns the weight, so that ZeRO-3 gathers the weight for this module's forward and backward pass.
    """

    def __init__(
        self, weight: nn.Parameter, chunking: Chunking, scale: float = 1.0, softcap: float | None = None
    ) -> None:
        """The logits are `scale` x hidden weight^T, then bounded by `softcap`."""
        super().__init__()
        self.weight = weight
        self.chunking = chunking
        self.scale = scale
        self.softcap = softcap

    def forward(
        self,
        hidden: Tensor,
        targets: Tensor,
        temperature: float,
        objective: Objective | None = None,
        with_entropy: bool = False,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return loss, log-probs and entropies as `target_loss` does; without an objective the loss is 0."""
        weight, chunking, softcap = self.weight, self.chunking, self.softcap
        if self.scale != 1.0:
            hidden = hidden * self.scale
        if objective is None:
            scores = target_logprobs(hidden, weight, targets, temperature, chunking, with_entropy, softcap)
            return torch.zeros((), device=hidden.device), *scores
        return target_loss(hidden, weight, targets, temperature, chunking, objective, with_entropy, softcap)


class _TargetLoss(torch.autograd.Function):
    """The gradient of each position's loss: d logp / d logits = (onehot - softmax) / temperature, times d loss / d logp.

    With a soft-cap c and capped logits y, the gradient with respect to hidden weight^T has the extra factor 1 - (y / c)^2.
    """

    @staticmethod
    def forward(
        ctx: FunctionCtx,
        hidden: Tensor,
        weight: Tensor,
        targets: Tensor,
        temperature: float,
        positions: int,
        objective: Objective,
        with_entropy: bool,
        softcap: float | None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        loss = torch.zeros((), device=hidden.device)
        scores = _Scores.empty(hidden)
        hidden_gradient = torch.empty_like(hidden)
        weight_gradient = torch.zeros_like(weight, dtype=torch.float32)
        for chunk in _chunks(len(hidden), positions):
            logits = _logits(hidden[chunk], weight, softcap)
            slope = None if softcap is None else 1.0 - (logits / softcap).square_()
            probabilities = scores.write(chunk, logits, targets[chunk], temperature, with_entropy)
            value, gradient = _value_and_gradient(objective, scores.logprobs[chunk], chunk)
            loss += value
            scale = gradient[:, None] / temperature
            logits_gradient = probabilities.mul_(-scale).scatter_add_(1, targets[chunk, None], scale)
            if slope is not None:
                logits_gradient.mul_(slope)
            logits_gradient = logits_gradient.to(weight.dtype)
            hidden_gradient[chunk] = logits_gradient @ weight
            _add_product(weight_gradient, logits_gradient.t(), hidden[chunk])
        ctx.save_for_backward(hidden_gradient, weight_gradient)
        ctx.weight_dtype = weight.dtype  # type: ignore[attr-defined]
        ctx.mark_non_differentiable(scores.logprobs, scores.entropies)
        return loss, scores.logprobs, scores.entropies

    @staticmethod
    def backward(ctx: FunctionCtx, upstream: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        hidden_gradient, weight_gradient = ctx.saved_tensors  # type: ignore[attr-defined]
        scaled = weight_gradient.mul_(upstream).to(ctx.weight_dtype)  # type: ignore[attr-defined]
        return hidden_gradient * upstream, scaled, None, None, None, None, None, None


@dataclass(frozen=True, eq=False)
class _Scores:
    """Log-probs and entropies of M targets, filled chunk by chunk; [M] float32."""

    logprobs: Tensor
    entropies: Tensor

    @classmethod
    def empty(cls, hidden: Tensor) -> _Scores:
        return cls(
            hidden.new_empty(len(hidden), dtype=torch.float32), hidden.new_zeros(len(hidden), dtype=torch.float32)
        )

    def write(self, chunk: slice, logits: Tensor, targets: Tensor, temperature: float, with_entropy: bool) -> Tensor:
        """Write the scores of a chunk of m positions from its `logits` [m, V] float32.

        Returns the distributions [m, V], which overwrite `logits`. Allocates one more buffer of that size.
        """
        if temperature != 1.0:
            logits.div_(temperature)
        log_softmax = functional.log_softmax(logits, dim=-1)
        self.logprobs[chunk] = log_softmax.gather(1, targets[:, None])[:, 0]
        probabilities = torch.exp(log_softmax, out=logits)
        if with_entropy:
            self.entropies[chunk] = log_softmax.mul_(probabilities).sum(1).neg_()
        return probabilities


def _logits(hidden: Tensor, weight: Tensor, softcap: float | None) -> Tensor:
    """Return the logits of m positions, [m, V] float32."""
    logits = functional.linear(hidden, weight).float()
    return logits if softcap is None else logits.div_(softcap).tanh_().mul_(softcap)


def _chunks(total: int, size: int) -> Iterator[slice]:
    return (slice(start, min(start + size, total)) for start in range(0, total, size))


@torch.enable_grad()
def _value_and_gradient(objective: Objective, logprobs: Tensor, chunk: slice) -> tuple[Tensor, Tensor]:
    """Return the objective's value, and its gradient with respect to the log-probs, [m]."""
    leaf = logprobs.detach().requires_grad_()
    value = objective(leaf, chunk)
    (gradient,) = torch.autograd.grad(value, leaf)
    return value.detach(), gradient


def _add_product(total: Tensor, left: Tensor, right: Tensor) -> None:
    """Add the matrix product of `left` and `right` to `total` (float32). On the CPU, the product is rounded to the factors' dtype."""
    if left.dtype == torch.float32:
        total.addmm_(left, right)
    elif total.is_cuda:
        torch.addmm(total, left, right, out_dtype=torch.float32, out=total)
    else:
        total += left @ right
