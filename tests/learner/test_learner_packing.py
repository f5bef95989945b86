"""Micro-batch plans are complete, bounded and equal in length; packed rows keep every token in place."""

from itertools import pairwise

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from actors.learner.batches import TokenSequences
from actors.learner.packing import empty_rows, length_groups, pack, plan_micro_batches

CPU = torch.device("cpu")
ROW_LENGTHS = st.lists(st.integers(1, 50), max_size=40)


@given(ROW_LENGTHS, st.integers(1, 4), st.integers(1, 120))
def test_every_row_is_in_exactly_one_micro_batch(lengths, ranks, max_tokens):
    plan = plan_micro_batches(np.asarray(lengths, np.int64), ranks, max_tokens)
    assert sorted(row for rank in plan for rows in rank for row in rows) == list(range(len(lengths)))


@given(ROW_LENGTHS, st.integers(1, 4), st.integers(1, 120))
def test_micro_batches_stay_within_the_limit_unless_one_row_exceeds_it(lengths, ranks, max_tokens):
    array = np.asarray(lengths, np.int64)
    for rank in plan_micro_batches(array, ranks, max_tokens):
        assert all(len(rows) <= 1 or array[rows].sum() <= max_tokens for rows in rank)


@given(ROW_LENGTHS, st.integers(1, 4), st.integers(1, 120))
def test_all_ranks_have_equally_many_micro_batches(lengths, ranks, max_tokens):
    plan = plan_micro_batches(np.asarray(lengths, np.int64), ranks, max_tokens)
    assert len({len(rank) for rank in plan}) == 1


@given(st.lists(st.integers(1, 50), min_size=8, max_size=40))
def test_ranks_differ_by_at_most_one_row_of_tokens(lengths):
    array = np.asarray(lengths, np.int64)
    loads = [sum(int(array[rows].sum()) for rows in rank) for rank in plan_micro_batches(array, 2, 64)]
    assert abs(loads[0] - loads[1]) <= max(lengths)


def batch() -> TokenSequences:
    return TokenSequences(
        np.arange(10, 19, dtype=np.int32), np.asarray([0, 4, 6, 9]), np.asarray([1, 0, 1, 1, 1, 1, 0, 0, 1], np.bool_)
    )


def test_packed_rows_restart_positions():
    packed = pack(batch(), np.asarray([2, 0]), CPU)
    assert packed.input_ids.tolist() == [[16, 17, 18, 10, 11, 12, 13]]
    assert packed.position_ids.tolist() == [[0, 1, 2, 0, 1, 2, 3]]
    assert packed.boundaries.tolist() == [0, 3, 7]


def test_a_target_is_predicted_by_the_token_before_it_in_its_row():
    packed = pack(batch(), np.asarray([2, 0]), CPU)
    assert packed.targets.tolist() == [18, 12, 13]
    assert packed.input_ids[0][packed.predictors].tolist() == [17, 11, 12]


def test_a_rows_first_token_is_never_a_target():
    packed = pack(batch(), np.asarray([0, 1]), CPU)
    assert 10 not in packed.targets.tolist() and 14 not in packed.targets.tolist()


def test_targets_know_their_columns_and_rows():
    packed = pack(batch(), np.asarray([2, 0]), CPU)
    assert packed.target_columns.tolist() == [8, 2, 3]
    assert packed.target_rows.tolist() == [2, 0, 0]


def test_padding_and_unpadding_are_inverse():
    packed = pack(batch(), np.asarray([2, 0, 1]), CPU)
    tokens = packed.input_ids[0]
    assert torch.equal(tokens[packed.padded_index][packed.packed_index], tokens)


@given(st.lists(st.integers(1, 500), min_size=1, max_size=40))
def test_attention_costs_less_than_twice_what_it_would_without_padding(lengths):
    falling = sorted(lengths, reverse=True)
    sizes = length_groups(falling)
    assert sum(sizes) == len(lengths)
    padded = sum(size * falling[sum(sizes[:i])] ** 2 for i, size in enumerate(sizes))
    assert padded <= 16 / 9 * sum(length**2 for length in lengths)


@given(st.lists(st.integers(1, 9), min_size=1, max_size=12), st.randoms())
def test_every_token_has_a_cell_in_the_order_of_its_row(lengths, random):
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    tokens = np.arange(offsets[-1], dtype=np.int32)
    rows = list(range(len(lengths)))
    random.shuffle(rows)
    packed = pack(TokenSequences(tokens, offsets, np.ones(len(tokens), np.bool_)), np.asarray(rows), CPU)
    flat = packed.input_ids[0]
    assert torch.equal(flat[packed.padded_index][packed.packed_index], flat)
    cells = flat[packed.padded_index].split([length for count, length in packed.groups for _ in range(count)])
    shown = sorted(row.unique_consecutive().tolist() for row in cells)
    assert shown == sorted(tokens[a:b].tolist() for a, b in pairwise(offsets))


def test_the_stand_in_has_one_target():
    assert len(empty_rows(CPU).targets) == 1
