"""Draws tokens from logits as an engine does, with one given uniform random number per token."""

from __future__ import annotations

import torch
from torch import Tensor

from actors.settings import SamplingSettings


def draw_tokens(logits: Tensor, sampling: SamplingSettings, uniform: Tensor) -> Tensor:
    """Return one token id for each row of `logits`, [b, V] -> [b]: the likeliest if sampling is greedy, else a drawn one.

    Temperature, top-k and top-p apply in this order. `uniform` [b] holds numbers in [0, 1). The same logits and numbers
    give the same tokens.
    """
    if sampling.greedy:
        return logits.argmax(dim=1)
    ordered, tokens = (logits.float() / sampling.temperature).sort(dim=1, descending=True, stable=True)
    if sampling.top_k > 0:
        ordered[:, sampling.top_k :] = -torch.inf
    probabilities = ordered.softmax(dim=1)
    before = probabilities.cumsum(dim=1) - probabilities
    probabilities = probabilities.where(before < sampling.top_p, 0.0)
    cumulative = probabilities.cumsum(dim=1)
    places = torch.searchsorted(cumulative, (uniform * cumulative[:, -1])[:, None], right=True)
    last = (probabilities > 0).sum(
        dim=1, keepdim=True
    ) - 1  # rounding must not choose a token that top-k or top-p removed
    return tokens.gather(1, places.minimum(last))[:, 0]
