"""Sums and maxima that are collected on the device during a step, and copied to the host once."""

from __future__ import annotations

from collections import defaultdict

import torch
from torch import Tensor


class Meters:
    """Named running sums and maxima, in float64 on the device."""

    def __init__(self, device: torch.device) -> None:
        self._zero = torch.zeros((), dtype=torch.float64, device=device)
        self._sums: dict[str, Tensor] = defaultdict(lambda: self._zero)
        self._maxima: dict[str, Tensor] = defaultdict(lambda: self._zero)

    def add(self, name: str, values: Tensor) -> None:
        """Add the sum of `values`, of any shape."""
        self._sums[name] = self._sums[name] + values.detach().sum()

    def top(self, name: str, values: Tensor) -> None:
        """Keep the largest of `values`, which must not be negative and may be empty."""
        if values.numel():
            self._maxima[name] = torch.maximum(self._maxima[name], values.detach().max().double())

    def include(self, other: Meters) -> None:
        """Add what `other` has collected."""
        for name, value in other._sums.items():
            self._sums[name] = self._sums[name] + value
        for name, value in other._maxima.items():
            self._maxima[name] = torch.maximum(self._maxima[name], value)

    def reduce(self, sums: tuple[str, ...], maxima: tuple[str, ...], world_size: int) -> dict[str, float]:
        """Return the named sums and maxima over all ranks; a name without values gives 0. Call it on all ranks."""
        summed = torch.stack([self._sums[name] for name in sums])
        topped = torch.stack([self._maxima[name] for name in maxima]) if maxima else None
        if world_size > 1:
            from deepspeed import comm

            comm.all_reduce(summed)
            if topped is not None:
                comm.all_reduce(topped, op=comm.ReduceOp.MAX)
        values = dict(zip(sums, summed.tolist(), strict=True))
        return values | (dict(zip(maxima, topped.tolist(), strict=True)) if topped is not None else {})
