"""Causal attention within the rows of a packed batch, without a tokens x tokens mask."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx
from torch.nn import functional

PACKED = "packed"


def register_packed_attention() -> None:
    """Make `attn_implementation="packed"` known to transformers.

    No mask function is registered with it: transformers then builds no mask at all.
    """
    from transformers import AttentionInterface

    AttentionInterface.register(PACKED, packed_attention)


def packed_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    scaling: float,
    padded_index: Tensor,
    packed_index: Tensor,
    groups: tuple[tuple[int, int], ...],
    sliding_window: int | None = None,
    softcap: float | None = None,
    s_aux: Tensor | None = None,
    **_: object,
) -> tuple[Tensor, None]:
    """Attend within each row: query [1, H, T, D], key and value [1, K, T, D] -> [1, T, H, D].

    Only attention uses a padded layout, described in `PackedRows`: the rows of a group are padded to the group's longest.
    Padding comes last in a row, so causal attention hides it. With a `sliding_window` of w, a token sees the last w tokens,
    itself included. There is no dropout, because the engine samples without it. Raises NotImplementedError for soft-capped
    scores and for attention sinks.
    """
    if softcap is not None:
        raise NotImplementedError(
            f"packed attention has no soft-cap of its scores (attn_logit_softcapping {softcap:g})"
        )
    if s_aux is not None:
        raise NotImplementedError("packed attention has no attention sinks")
    cells = [rows * length for rows, length in groups]

    def padded(states: Tensor) -> list[Tensor]:
        """Return the padded states of each group: [n, heads, L, D] for n rows of L cells."""
        flat = _Pad.apply(states[0].transpose(0, 1), padded_index, packed_index).split(cells)
        return [part.unflatten(0, shape).transpose(1, 2) for part, shape in zip(flat, groups, strict=True)]

    attended = []
    for of_query, of_key, of_value in zip(padded(query), padded(key), padded(value), strict=True):
        length = of_query.shape[2]
        seen = None
        if sliding_window is not None and sliding_window < length:
            seen = _seen(length, sliding_window, query.device)
        of_group = functional.scaled_dot_product_attention(
            of_query,
            of_key,
            of_value,
            attn_mask=seen,
            is_causal=seen is None,
            scale=scaling,
            enable_gqa=query.shape[1] != key.shape[1],
        )
        attended.append(of_group.transpose(1, 2).flatten(0, 1))
    return _Unpad.apply(torch.cat(attended), packed_index)[None], None


def _seen(length: int, window: int, device: torch.device) -> Tensor:
    """Return [L, L] bool: whether the token of a row (first axis) sees the token of a column."""
    return torch.ones(length, length, dtype=torch.bool, device=device).tril().triu(1 - window)


class _Pad(torch.autograd.Function):
    """Gather tokens [T, ...] into cells [n * L, ...]. Padding cells receive no gradient, so backward gathers too."""

    @staticmethod
    def forward(ctx: FunctionCtx, tokens: Tensor, padded_index: Tensor, packed_index: Tensor) -> Tensor:
        ctx.save_for_backward(packed_index)
        return tokens.index_select(0, padded_index)

    @staticmethod
    def backward(ctx: FunctionCtx, gradient: Tensor) -> tuple[Tensor, None, None]:  # type: ignore[override]
        (packed_index,) = ctx.saved_tensors  # type: ignore[attr-defined]
        return gradient.index_select(0, packed_index), None, None


class _Unpad(torch.autograd.Function):
    """Gather cells [n * L, ...] back into tokens [T, ...]."""

    @staticmethod
    def forward(ctx: FunctionCtx, cells: Tensor, packed_index: Tensor) -> Tensor:
        ctx.save_for_backward(packed_index)
        ctx.cells = len(cells)  # type: ignore[attr-defined]
        return cells.index_select(0, packed_index)

    @staticmethod
    def backward(ctx: FunctionCtx, gradient: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        (packed_index,) = ctx.saved_tensors  # type: ignore[attr-defined]
        cells = gradient.new_zeros((ctx.cells, *gradient.shape[1:]))  # type: ignore[attr-defined]
        return cells.index_copy_(0, packed_index, gradient), None
