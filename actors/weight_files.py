"""Reads a student's weights from disk, in the form that the rollout workers take."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray


def read_weights(folder: Path) -> dict[str, NDArray[np.generic]]:
    """Return all weights of a Hugging Face folder by name: float32, or bfloat16 viewed as uint16.

    Raises FileNotFoundError if it has no safetensors.
    """
    import torch
    from safetensors.torch import load_file

    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise FileNotFoundError(f"{folder}: should have the student's weights in safetensors, and has none")
    tensors = {name: tensor for file in files for name, tensor in load_file(file).items()}
    return {
        name: (tensor.view(torch.uint16) if tensor.dtype == torch.bfloat16 else tensor).numpy()
        for name, tensor in tensors.items()
    }
