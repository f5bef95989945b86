"""Weights in shared memory, for engines whose model lives in another process of the machine."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import resource_tracker, shared_memory
from unittest.mock import patch

import numpy as np
from numpy.typing import NDArray

Weights = Mapping[str, NDArray[np.generic]]
"""by name: float32, or bfloat16 viewed as uint16"""
Place = tuple[str, str, Sequence[int], int]
"""name, dtype, shape and first byte of one array in shared memory"""
_ALIGNMENT_BYTES = 64


@dataclass(frozen=True, slots=True)
class SharedWeights:
    """Where weights lie in shared memory."""

    segment: str
    places: Sequence[Place]


def total_bytes(weights: Weights) -> int:
    """Return the bytes of all weights; an array that has two names counts once."""
    return sum(array.nbytes for array in {id(array): array for array in weights.values()}.values())


@contextmanager
def share(weights: Weights) -> Iterator[SharedWeights]:
    """Copy `weights` to shared memory, which is freed at the end of the block."""
    places: list[Place] = []
    end = 0
    for name, array in weights.items():
        places.append((name, array.dtype.str, array.shape, end))
        end += -(-array.nbytes // _ALIGNMENT_BYTES) * _ALIGNMENT_BYTES
    segment = shared_memory.SharedMemory(create=True, size=max(end, 1))
    try:
        shared = SharedWeights(segment.name, places)
        for name, view in _views(segment, shared).items():
            view[...] = weights[name]
        yield shared
    finally:
        segment.close()
        segment.unlink()


@contextmanager
def attach(shared: SharedWeights) -> Iterator[Weights]:
    """Give the weights as views of the shared memory; nothing may refer to them after the block."""
    with patch.object(resource_tracker, "register"):  # else this process would free the other one's memory when it ends
        segment = shared_memory.SharedMemory(name=shared.segment)
    weights = _views(segment, shared)
    try:
        yield weights
    finally:
        weights.clear()
        segment.close()


def _views(segment: shared_memory.SharedMemory, shared: SharedWeights) -> dict[str, NDArray[np.generic]]:
    return {
        name: np.ndarray(tuple(shape), np.dtype(dtype), buffer=segment.buf, offset=first)
        for name, dtype, shape, first in shared.places
    }
