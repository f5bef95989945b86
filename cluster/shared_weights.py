"""Weights in shared memory, for engines whose model is in another process of the machine."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import resource_tracker, shared_memory
from pathlib import Path
from unittest.mock import patch

import numpy as np
from numpy.typing import NDArray

from cluster.errors import RunError

Weights = Mapping[str, NDArray[np.generic]]
"""arrays by name: float32, or bfloat16 viewed as uint16"""
Place = tuple[str, str, Sequence[int], int]
"""name, dtype, shape and byte offset of one array in shared memory"""
_ALIGNMENT_BYTES = 64
_FOLDER = Path("/dev/shm")


class SharedMemoryError(RunError):
    """Shared memory has no room for the weights. The message says how much they need."""


@dataclass(frozen=True, slots=True)
class SharedWeights:
    """A shared-memory segment, and the places of the weights in it."""

    segment: str
    places: Sequence[Place]


def total_bytes(weights: Weights) -> int:
    """Return the bytes of all weights. An array with two names counts once."""
    return sum(array.nbytes for array in {id(array): array for array in weights.values()}.values())


@contextmanager
def share(weights: Weights) -> Iterator[SharedWeights]:
    """Copy `weights` to shared memory and yield their places. The memory is freed at the end of the block.

    An array with two names is stored once. The engines of a machine take turns, so that only one copy exists at a time.
    Raises `SharedMemoryError` if shared memory is full.
    """
    places: list[Place] = []
    first_bytes: dict[int, int] = {}
    end = 0
    for name, array in weights.items():
        if id(array) not in first_bytes:
            first_bytes[id(array)] = end
            end += -(-array.nbytes // _ALIGNMENT_BYTES) * _ALIGNMENT_BYTES
        places.append((name, array.dtype.str, array.shape, first_bytes[id(array)]))
    with _turn():
        segment = shared_memory.SharedMemory(create=True, size=max(end, 1))
        try:
            _allocate(segment.name, end)
            shared = SharedWeights(segment.name, places)
            for name, view in _views(segment, shared).items():
                view[...] = weights[name]
            yield shared
        finally:
            segment.close()
            segment.unlink()


@contextmanager
def attach(shared: SharedWeights) -> Iterator[Weights]:
    """Yield the weights as views of the shared memory. Nothing may refer to them after the block."""
    with patch.object(resource_tracker, "register"):  # otherwise this process would free the other's memory at its end
        segment = shared_memory.SharedMemory(name=shared.segment)
    weights = _views(segment, shared)
    try:
        yield weights
    finally:
        weights.clear()
        segment.close()


@contextmanager
def _turn() -> Iterator[None]:
    """Wait until no other process of this user on this machine is in the block. If a process dies, the kernel ends its turn."""
    lock = os.open(_FOLDER / f"relayllm-weights-{os.getuid()}.lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def _allocate(segment: str, size: int) -> None:
    """Allocate a new segment's memory. Otherwise it is sparse, and writing to it when no memory is left kills the process."""
    file = os.open(_FOLDER / segment, os.O_RDWR)
    try:
        if size:
            os.posix_fallocate(file, 0, size)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.ENOMEM):
            raise
        free = os.fstatvfs(file)
        raise SharedMemoryError(
            f"the student's weights need {size / 2**20:,.0f} MiB of shared memory, and {_FOLDER} has "
            f"{free.f_bavail * free.f_frsize / 2**20:,.0f} MiB left: make it larger (docker run --shm-size, or "
            f"mount -o remount,size=...), or make Ray's object store smaller"
        ) from error
    finally:
        os.close(file)


def _views(segment: shared_memory.SharedMemory, shared: SharedWeights) -> dict[str, NDArray[np.generic]]:
    return {
        name: np.ndarray(tuple(shape), np.dtype(dtype), buffer=segment.buf, offset=first)
        for name, dtype, shape, first in shared.places
    }
