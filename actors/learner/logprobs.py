"""Log-probs of given tokens under the LM head, a chunk of positions at a time: no tokens x vocabulary matrix."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx
from torch.nn import functional


def chunked_logprobs(
    hidden: Tensor, weight: Tensor, targets: Tensor, temperature: float, chunk_tokens: int, with_entropy: bool = False
) -> tuple[Tensor, Tensor]:
    """Return log-softmax(hidden weight^T / temperature) at `targets`, and the distributions' entropies in nats.

    hidden [M, d], weight [V, d], targets [M] int64 -> [M], [M] float32. Forward and backward hold the logits of at most
    `chunk_tokens` positions. The entropy carries no gradient, and is 0 unless asked for.
    """
    logprobs, entropies = _ChunkedLogprobs.apply(hidden, weight, targets, temperature, chunk_tokens, with_entropy)
    return logprobs, entropies


class LogprobHead(nn.Module):
    """An LM head that returns log-probs of given tokens instead of logits.

    It owns the weight, so that ZeRO-3 gathers it for this module's forward and backward.
    """

    def __init__(self, weight: nn.Parameter, chunk_tokens: int) -> None:
        super().__init__()
        self.weight = weight
        self.chunk_tokens = chunk_tokens

    def forward(
        self, hidden: Tensor, targets: Tensor, temperature: float, with_entropy: bool = False
    ) -> tuple[Tensor, Tensor]:
        return chunked_logprobs(hidden, self.weight, targets, temperature, self.chunk_tokens, with_entropy)


class _ChunkedLogprobs(torch.autograd.Function):
    """Backward recomputes each chunk's softmax: d logp / d logits = (onehot - softmax) / temperature."""

    @staticmethod
    def forward(
        ctx: FunctionCtx,
        hidden: Tensor,
        weight: Tensor,
        targets: Tensor,
        temperature: float,
        chunk_tokens: int,
        with_entropy: bool,
    ) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(hidden, weight, targets)
        ctx.temperature, ctx.chunk_tokens = temperature, chunk_tokens  # type: ignore[attr-defined]
        logprobs = hidden.new_empty(len(hidden), dtype=torch.float32)
        entropies = hidden.new_zeros(len(hidden), dtype=torch.float32)
        for start in range(0, len(hidden), chunk_tokens):
            chunk = slice(start, start + chunk_tokens)
            log_softmax = _log_softmax(hidden[chunk], weight, temperature)
            logprobs[chunk] = log_softmax.gather(1, targets[chunk, None])[:, 0]
            if with_entropy:
                entropies[chunk] = -(log_softmax.exp() * log_softmax).sum(1)
        ctx.mark_non_differentiable(entropies)
        return logprobs, entropies

    @staticmethod
    def backward(ctx: FunctionCtx, gradient: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        hidden, weight, targets = ctx.saved_tensors  # type: ignore[attr-defined]
        temperature, chunk_tokens = ctx.temperature, ctx.chunk_tokens  # type: ignore[attr-defined]
        hidden_gradient = torch.empty_like(hidden)
        weight_gradient = torch.zeros_like(weight, dtype=torch.float32)
        for start in range(0, len(hidden), chunk_tokens):
            chunk = slice(start, start + chunk_tokens)
            scale = gradient[chunk, None] / temperature
            logits_gradient = _log_softmax(hidden[chunk], weight, temperature).exp_().mul_(-scale)
            logits_gradient.scatter_add_(1, targets[chunk, None], scale)
            logits_gradient = logits_gradient.to(weight.dtype)
            hidden_gradient[chunk] = logits_gradient @ weight
            weight_gradient += logits_gradient.t() @ hidden[chunk]
        return hidden_gradient, weight_gradient.to(weight.dtype), None, None, None, None


def _log_softmax(hidden: Tensor, weight: Tensor, temperature: float) -> Tensor:
    """[m, d], [V, d] -> [m, V] float32."""
    return functional.log_softmax(functional.linear(hidden, weight).float() / temperature, dim=-1)
