"""Reads a learner's state whole, for tests that compare two of them."""

from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor


def read_state(folder: Path) -> dict[tuple[str, str], Tensor]:
    """Return all parameters and moments, flat, by kind and name."""
    parts: dict[tuple[str, str], list[tuple[int, Tensor]]] = {}
    for file in sorted(folder.glob("rank-*.safetensors")):
        for key, tensor in load_file(file).items():
            kind, start, name = key.split("/", 2)
            parts.setdefault((kind, name), []).append((int(start), tensor))
    return {name: torch.cat([tensor for _, tensor in sorted(of, key=lambda one: one[0])]) for name, of in parts.items()}
