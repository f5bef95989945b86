"""What a rank makes of the failures of its device, and what the group says of a rank that is late."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import ray
import torch

from actors.learner.errors import LearnerRefusal, LearnerTimeoutError
from actors.learner.group import PendingCall
from actors.learner.rank import LearnerRank
from actors.settings import LearnerSettings, OptimizerSettings
from cluster.devices import Device
from cluster.stacks import show_stacks_on_signal


def test_a_gpu_without_memory_left_is_told_with_the_settings_that_need_less() -> None:
    def load(*_: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    rank = LearnerRank(LearnerSettings(), 1, Device.CPU)
    rank._trainer = SimpleNamespace(load=load)  # type: ignore[assignment]
    with pytest.raises(LearnerRefusal, match=r"rank 1 .*max_tokens_per_micro_batch.* Tried to allocate 2\.00 GiB"):
        rank.load("folder", OptimizerSettings(), 1, None, 0)


class Rank:
    """Answers at once, or stands still in a function of that name."""

    def __init__(self) -> None:
        show_stacks_on_signal()

    def process(self) -> int:
        return os.getpid()

    def step(self, stands_still: bool) -> None:
        def stands_still_here() -> None:
            threading.Event().wait()

        if stands_still:
            stands_still_here()


@pytest.mark.ray
def test_where_a_late_rank_stands_is_in_the_log_that_the_message_names(ray_cluster: None) -> None:
    ranks = [ray.remote(Rank).options(num_cpus=0).remote() for _ in range(2)]
    _, late = ray.get([rank.process.remote() for rank in ranks])
    calls = [rank.step.remote(stands_still) for rank, stands_still in zip(ranks, (False, True), strict=True)]
    try:
        with pytest.raises(LearnerTimeoutError) as raised:
            PendingCall("step", calls, 1.0, "learner.deadline_s", ranks).results()
        assert str(raised.value) == (
            "step took more than 1 s on learner ranks [1]: if it needs more, raise learner.deadline_s. Where its threads "
            f"stood should be in Ray's log of process {late}, worker-*-{late}.err"
        )
        (log,) = Path(ray._private.worker.global_worker.node.get_logs_dir_path()).glob(f"worker-*-{late}.err")
        assert "in stands_still_here" in log.read_text()
    finally:
        for rank in ranks:
            ray.kill(rank)
