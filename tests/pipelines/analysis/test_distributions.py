"""Lengths and places of calls."""

import pytest

from pipelines.analysis.distributions import Counts, call_lengths, call_positions, calls_per_answer

ROWS = [
    {"output_tokens": 100, "calls": ((10, 20, 20, 30, 0), (60, 100, 7, 90, 0))},
    {"output_tokens": 50},
    {"output_tokens": 40, "calls": ((40, 20, 0, 0, 0),)},
]


def test_requested_and_written_tokens_are_counted_apart(table_of) -> None:
    lengths = call_lengths(table_of(ROWS))
    assert lengths.requested == Counts(values=(20, 100), counts=(2, 1))
    assert lengths.written == Counts(values=(0, 7, 20), counts=(1, 1, 1))
    assert lengths.cut == 2


def test_answers_without_calls_count_too(table_of) -> None:
    assert calls_per_answer(table_of(ROWS)) == Counts(values=(0, 1, 2), counts=(1, 1, 1))


def test_positions_are_relative_to_the_answer(table_of) -> None:
    positions = call_positions(table_of(ROWS), bins=4)
    assert positions.edges == (0.0, 0.25, 0.5, 0.75, 1.0)
    assert positions.counts == (1, 0, 1, 1)


def test_a_table_without_calls_has_empty_distributions(table_of) -> None:
    table = table_of([{}, {}])
    assert call_lengths(table).requested == Counts((), ())
    assert call_positions(table, bins=2).counts == (0, 0)


def test_counts_are_binned_with_the_upper_edge_left_out() -> None:
    counts = Counts(values=(1, 9, 10, 99, 100), counts=(1, 2, 3, 4, 5))
    assert counts.binned((1, 10, 100, 101)) == (3, 7, 5)
    assert counts.total == 15
    with pytest.raises(ValueError, match=r"edges should cover 1 to 100, not \[1, 100\)"):
        counts.binned((1, 10, 100))
