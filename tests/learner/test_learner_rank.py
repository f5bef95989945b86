"""What a rank makes of the failures of its device."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from actors.learner.errors import LearnerRefusal
from actors.learner.rank import LearnerRank
from actors.settings import LearnerSettings, OptimizerSettings
from cluster.devices import Device


def test_a_gpu_without_memory_left_is_told_with_the_settings_that_need_less() -> None:
    def load(*_: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    rank = LearnerRank(LearnerSettings(), 1, Device.CPU)
    rank._trainer = SimpleNamespace(load=load)  # type: ignore[assignment]
    with pytest.raises(LearnerRefusal, match=r"rank 1 .*max_tokens_per_micro_batch.* Tried to allocate 2\.00 GiB"):
        rank.load("folder", OptimizerSettings(), 1, None, 0)
