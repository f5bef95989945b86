"""Measures this process's peak memory on its device: resident memory on the CPU, the allocator's count on a GPU."""

from __future__ import annotations

import ctypes
import gc
import re
from pathlib import Path

_STATUS = Path("/proc/self/status")
_CLEAR = Path("/proc/self/clear_refs")


class PeakMemory:
    """Measures peak memory in addition to the memory in use at construction."""

    def __init__(self, device: str) -> None:
        self._device = device
        self.forget()
        self._start = self._current()

    def forget(self) -> None:
        """Return freed memory to the system, then reset the peak."""
        gc.collect()
        if self._device == "cuda":
            import torch

            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
        else:
            ctypes.CDLL(None).malloc_trim(0)
            _CLEAR.write_text("5")  # resets VmHWM

    def bytes(self) -> int:
        """Return the peak number of bytes in use since the last `forget`, minus the bytes in use at construction."""
        if self._device == "cuda":
            import torch

            return torch.cuda.max_memory_allocated() - self._start
        return _kib("VmHWM") * 1024 - self._start

    def _current(self) -> int:
        if self._device == "cuda":
            import torch

            return torch.cuda.memory_allocated()
        return _kib("VmRSS") * 1024


def _kib(name: str) -> int:
    found = re.search(rf"^{name}:\s+(\d+) kB", _STATUS.read_text(), re.MULTILINE)
    if found is None:
        raise RuntimeError(f"{_STATUS} has no {name}: peak memory needs Linux")
    return int(found.group(1))
