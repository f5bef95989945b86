"""Supervised steps on the mean cross-entropy of the target tokens (paper section 2.2)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from time import perf_counter

import numpy as np
from torch import Tensor

from actors.learner.batches import Int64, TokenSequences
from actors.learner.engine import backward
from actors.learner.losses import target_counts
from actors.learner.meters import Meters
from actors.learner.metrics import SftMetrics
from actors.learner.trainer import Trainer


def sft_steps(trainer: Trainer, batch: TokenSequences, rows_per_step: Sequence[Int64]) -> list[SftMetrics]:
    """Take one optimizer step for each array of rows; return the metrics of each. Call it on all ranks."""
    return [sft_step(trainer, batch, rows) for rows in rows_per_step]


def sft_step(trainer: Trainer, batch: TokenSequences, rows: Int64) -> SftMetrics:
    """Take one optimizer step on the mean cross-entropy of the targets of `rows`; return its metrics. Call it on all ranks.

    Raises ValueError if the rows have no target.
    """
    started = perf_counter()
    rows = np.asarray(rows, np.int64)
    tokens = int(target_counts(batch, rows).sum())
    if tokens == 0:
        raise ValueError("a supervised step needs at least one target token")
    meters = Meters(trainer.device)
    plan = trainer.plan(batch, rows)
    for index, chosen in enumerate(plan):
        used = len(chosen) > 0

        def objective(logprobs: Tensor, _: slice, used: bool = used) -> Tensor:
            return -logprobs.sum() * used / tokens

        loss, *_ = trainer.engine(trainer.pack(batch, chosen), 1.0, objective)
        meters.add("loss", loss)
        backward(trainer.engine, loss * trainer.world_size, index == len(plan) - 1)
    lr, grad_norm = trainer.update()
    values = meters.reduce(("loss",), (), trainer.world_size)
    norm = math.nan if grad_norm is None else grad_norm
    return SftMetrics(values["loss"], tokens, norm, lr, int(grad_norm is None), perf_counter() - started)
