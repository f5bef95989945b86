"""Packing: plans which rows go through the model together and on which rank, and joins their tokens without padding."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from actors.learner.batches import Int64, TokenSequences

_SHORTEST_OF_GROUP = 0.75
"""least length of a row in a group, as a share of the group's longest row"""


def plan_micro_batches(lengths: Int64, ranks: int, max_tokens: int) -> list[list[Int64]]:
    """Return each rank's micro-batches, as arrays of indices into `lengths`. Every rank has the same number of them.

    Rows are assigned from the longest to the shortest, each to the rank with the fewest tokens. Then each rank fills
    micro-batches of up to `max_tokens` tokens with rows of similar length. A longer row gets a micro-batch of its own. A rank
    that needs fewer micro-batches gets empty ones, so that collectives match. All ranks compute the same plan.
    """
    order = np.argsort(-lengths, kind="stable")
    rows: list[list[int]] = [[] for _ in range(ranks)]
    load = [0] * ranks
    for index in order:
        rank = load.index(min(load))
        rows[rank].append(int(index))
        load[rank] += int(lengths[index])
    plan = [_fill(of_rank, lengths, max_tokens) for of_rank in rows]
    steps = max(map(len, plan))
    empty = np.zeros(0, np.int64)
    return [of_rank + [empty] * (steps - len(of_rank)) for of_rank in plan]


def _fill(rows: list[int], lengths: Int64, max_tokens: int) -> list[Int64]:
    bins: list[list[int]] = []
    used = max_tokens
    for row in rows:
        length = int(lengths[row])
        if not bins or used + length > max_tokens:
            bins.append([])
            used = 0
        bins[-1].append(row)
        used += length
    return [np.asarray(rows_of_bin, np.int64) for rows_of_bin in bins]


@dataclass(frozen=True, eq=False)
class PackedRows:
    """The n rows of one micro-batch joined end to end: T tokens, of which M are targets."""

    input_ids: Tensor
    """[1, T] int64"""
    position_ids: Tensor
    """[1, T] int64, counted from 0 in each row"""
    boundaries: Tensor
    """[n + 1] int32, where each row begins, and T"""
    max_length: int
    groups: tuple[tuple[int, int], ...]
    """the padded layout: for each group of rows of similar length, its number of rows and the cells of each row"""
    padded_index: Tensor
    """[C] int64, the token of each cell of the padded layout; a padding cell repeats its row's last token"""
    packed_index: Tensor
    """[T] int64, the cell of each token in the padded layout"""
    predictors: Tensor
    """[M] int64, index of the token that predicts each target: the one before it"""
    targets: Tensor
    """[M] int64, target token ids"""
    target_columns: Int64
    """[M] index of each target in the batch's per-token columns"""
    target_rows: Int64
    """[M] index of each target's row in the batch"""


def pack(batch: TokenSequences, rows: Int64, device: torch.device, mask: np.ndarray | None = None) -> PackedRows:
    """Return `rows` of `batch`, packed on `device`. `mask` [N] bool, if given, replaces the batch's loss mask."""
    starts = batch.offsets[rows]
    lengths = batch.offsets[rows + 1] - starts
    boundaries = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    local_row = np.repeat(np.arange(len(rows)), lengths)
    positions = np.arange(boundaries[-1]) - boundaries[local_row]
    columns = starts[local_row] + positions
    is_target = (batch.loss_mask if mask is None else mask)[columns] & (positions > 0)
    target_places = np.flatnonzero(is_target)
    tokens = batch.token_ids[columns].astype(np.int64)
    groups, cells, first_cell = _padded_layout(lengths, boundaries)

    def tensor(array: np.ndarray) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).to(device, non_blocking=True)

    return PackedRows(
        input_ids=tensor(tokens[None]),
        position_ids=tensor(positions[None]),
        boundaries=tensor(boundaries.astype(np.int32)),
        max_length=int(lengths.max()),
        groups=groups,
        padded_index=tensor(cells),
        packed_index=tensor(first_cell[local_row] + positions),
        predictors=tensor(target_places - 1),
        targets=tensor(tokens[target_places]),
        target_columns=columns[target_places],
        target_rows=rows[local_row[target_places]],
    )


def length_groups(lengths: Sequence[int]) -> list[int]:
    """Return the sizes of consecutive groups of `lengths`, which must be in descending order.

    No length is below 3/4 of its group's first. Attention costs the square of the padded length, so padding makes it less
    than 1.8 times as expensive, and on average a quarter more. Finer groups would lose as much by calls with few rows.
    """
    sizes: list[int] = []
    first = 0
    for length in lengths:
        if not sizes or length < _SHORTEST_OF_GROUP * first:
            sizes.append(0)
            first = length
        sizes[-1] += 1
    return sizes


def _padded_layout(lengths: Int64, boundaries: Int64) -> tuple[tuple[tuple[int, int], ...], Int64, Int64]:
    """Return the groups, the token of each cell [C], and each row's first cell [n]; see `PackedRows`."""
    order = np.argsort(-lengths, kind="stable")
    groups, cells = [], []
    first_cell = np.zeros(len(lengths), np.int64)
    start, row = 0, 0
    for size in length_groups(lengths[order].tolist()):
        rows = order[row : row + size]
        longest = int(lengths[rows[0]])
        groups.append((size, longest))
        cells.append(np.minimum(np.arange(longest)[None, :], lengths[rows, None] - 1) + boundaries[rows, None])
        first_cell[rows] = start + np.arange(size) * longest
        start, row = start + size * longest, row + size
    return tuple(groups), np.concatenate([of_group.reshape(-1) for of_group in cells]), first_cell


def empty_rows(device: torch.device) -> PackedRows:
    """Return a stand-in of two tokens and one target for a rank without rows. The caller must multiply its loss by 0."""
    batch = TokenSequences(np.zeros(2, np.int32), np.asarray([0, 2], np.int64), np.ones(2, np.bool_))
    return pack(batch, np.zeros(1, np.int64), device)
