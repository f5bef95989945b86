"""Weights in shared memory: what goes in comes out, in another process too, and nothing stays."""

import errno
import multiprocessing
import os
import threading
from multiprocessing import shared_memory

import numpy as np
import pytest

from cluster.shared_weights import SharedMemoryError, SharedWeights, Weights, attach, share, total_bytes

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


def test_an_array_with_two_names_is_there_once() -> None:
    with share({**ARRAYS, "tied": ARRAYS["a"]}) as shared:
        first = {name: place for name, _, _, place in shared.places}
        assert first["tied"] == first["a"]
        assert os.stat(f"/dev/shm/{shared.segment}").st_size == 3 * 64
        with attach(shared) as weights:
            assert np.array_equal(weights["tied"], ARRAYS["a"])
            del weights


def test_the_memory_is_there_before_it_is_written_to(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    allocate = os.posix_fallocate
    monkeypatch.setattr(
        os, "posix_fallocate", lambda file, first, size: asked.append(size) or allocate(file, first, size)
    )
    with share(ARRAYS):
        assert asked == [3 * 64]


def test_a_machine_without_room_says_how_much_is_needed_and_keeps_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(file: int, first: int, size: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    before = {name for name in os.listdir("/dev/shm") if name.startswith("psm_")}
    big = {"a": np.zeros(3 * 2**18, np.float32)}
    with (
        pytest.raises(SharedMemoryError, match=r"need 3 MiB of shared memory, and /dev/shm has [\d,]+ MiB left"),
        share(big),
    ):
        pass
    assert {name for name in os.listdir("/dev/shm") if name.startswith("psm_")} <= before


def test_a_machine_holds_one_copy_at_a_time() -> None:
    second_is_in = threading.Event()

    def second() -> None:
        with share(ARRAYS):
            second_is_in.set()

    with share(ARRAYS):
        other = threading.Thread(target=second)
        other.start()
        assert not second_is_in.wait(0.2)
    assert second_is_in.wait(30)
    other.join()
