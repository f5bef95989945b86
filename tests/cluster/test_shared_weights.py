"""Weights in shared memory: what goes in comes out, in another process too, and nothing stays."""

import multiprocessing
from multiprocessing import shared_memory

import numpy as np
import pytest

from cluster.shared_weights import SharedWeights, Weights, attach, share, total_bytes

ARRAYS: Weights = {
    "a": np.arange(7, dtype=np.float32).reshape(7, 1),
    "b": np.arange(5, dtype=np.uint16),
    "c": np.array(2.5, np.float32),
}


def total(shared: SharedWeights) -> float:
    with attach(shared) as weights:
        return float(sum(array.sum() for array in weights.values()))


def test_arrays_come_out_as_they_went_in() -> None:
    with share(ARRAYS) as shared, attach(shared) as weights:
        assert {name: array.dtype for name, array in weights.items()} == {n: a.dtype for n, a in ARRAYS.items()}
        assert all(np.array_equal(array, ARRAYS[name]) for name, array in weights.items())
        del weights


def test_another_process_reads_them_and_its_end_does_not_free_them() -> None:
    with share(ARRAYS) as shared:
        for _ in range(2):
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                assert pool.apply(total, (shared,)) == 33.5


def test_the_memory_is_freed_with_the_block() -> None:
    with share(ARRAYS) as shared:
        pass
    with pytest.raises(FileNotFoundError):
        shared_memory.SharedMemory(name=shared.segment)


def test_an_array_with_two_names_counts_once() -> None:
    assert total_bytes({**ARRAYS, "tied": ARRAYS["a"]}) == total_bytes(ARRAYS) == 28 + 10 + 4
