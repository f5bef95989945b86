"""Trajectories as columns: what goes in comes out, alone, joined and through a pickle."""

import pickle
from collections.abc import Sequence
from dataclasses import fields

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.trajectory import Call, CallEnding, FinishReason, RejectedCommands, Source, Trajectory, TrajectoryBatch

COLUMNS = ("prompt_ids", "token_ids", "sources", "logprobs", "versions", "constrained")

calls = st.builds(
    Call,
    position=st.integers(0, 10_000),
    requested=st.integers(1, 2**31 - 1),
    written=st.integers(0, 10_000),
    duration_s=st.floats(0, 1e6),
    ending=st.sampled_from(CallEnding),
    commanded=st.integers(0, 2**31 - 1),
    prompt_tokens=st.integers(0, 10_000),
    cached_tokens=st.integers(0, 10_000),
)
counts = st.integers(0, 100)


@st.composite
def trajectories(draw: st.DrawFn) -> Trajectory:
    ids = st.integers(0, 2**31 - 1)
    tokens = draw(st.integers(0, 6))

    def column(values: st.SearchStrategy, dtype: type) -> np.ndarray:
        return np.array(draw(st.lists(values, min_size=tokens, max_size=tokens)), dtype)

    return Trajectory(
        prompt_ids=np.array(draw(st.lists(ids, max_size=4)), np.int32),
        token_ids=column(ids, np.int32),
        sources=column(st.sampled_from(Source), np.uint8),
        logprobs=column(st.floats(-100, 0, width=32), np.float32),
        versions=column(st.integers(-1, 10_000), np.int32),
        constrained=column(st.booleans(), np.bool_),
        calls=tuple(draw(st.lists(calls, max_size=3))),
        rejected=draw(st.builds(RejectedCommands, counts, counts, counts, counts)),
        finish=draw(st.sampled_from(FinishReason)),
        text=draw(st.text(max_size=5)),
    )


def trajectory(sources: Sequence[Source] = (), *executed: Call) -> Trajectory:
    count = len(sources)
    return Trajectory(
        prompt_ids=np.zeros(1, np.int32),
        token_ids=np.zeros(count, np.int32),
        sources=np.array(sources, np.uint8),
        logprobs=np.zeros(count, np.float32),
        versions=np.zeros(count, np.int32),
        constrained=np.zeros(count, np.bool_),
        calls=executed,
        rejected=RejectedCommands(),
        finish=FinishReason.STUDENT_END,
        text="",
    )


def call(written: int, ending: CallEnding = CallEnding.COMPLETED) -> Call:
    return Call(position=0, requested=10, written=written, duration_s=0.1, ending=ending)


def assert_same_rows(found: Sequence[Trajectory], expected: Sequence[Trajectory]) -> None:
    assert len(found) == len(expected)
    for a, b in zip(found, expected, strict=True):
        for name in COLUMNS:
            np.testing.assert_array_equal(getattr(a, name), getattr(b, name))
            assert getattr(a, name).dtype == getattr(b, name).dtype
        assert (a.calls, a.rejected, a.finish, a.text) == (b.calls, b.rejected, b.finish, b.text)


def assert_same_columns(found: TrajectoryBatch, expected: TrajectoryBatch) -> None:
    for column in fields(TrajectoryBatch):
        a, b = getattr(found, column.name), getattr(expected, column.name)
        np.testing.assert_array_equal(a, b)
        assert column.name == "texts" or a.dtype == b.dtype


@given(st.lists(trajectories(), max_size=4))
@settings(max_examples=50, deadline=None)
def test_rows_come_out_of_a_batch_as_they_went_in(rows: list[Trajectory]) -> None:
    assert_same_rows(list(TrajectoryBatch.of(rows)), rows)


@given(st.lists(st.lists(trajectories(), max_size=3), min_size=1, max_size=3))
@settings(max_examples=50, deadline=None)
def test_joined_batches_are_the_batch_of_all_rows(parts: list[list[Trajectory]]) -> None:
    joined = TrajectoryBatch.concatenate([TrajectoryBatch.of(rows) for rows in parts])
    assert_same_columns(joined, TrajectoryBatch.of([row for rows in parts for row in rows]))


@given(st.lists(trajectories(), max_size=3))
@settings(max_examples=25, deadline=None)
def test_a_batch_comes_back_from_a_pickle_with_its_arrays_out_of_band(rows: list[Trajectory]) -> None:
    batch = TrajectoryBatch.of(rows)
    buffers: list[pickle.PickleBuffer] = []
    pickled = pickle.dumps(batch, protocol=5, buffer_callback=buffers.append)
    assert_same_columns(pickle.loads(pickled, buffers=buffers), batch)
    assert len(buffers) == len(fields(TrajectoryBatch)) - 1


def test_the_call_ratio_counts_written_tokens_over_all_tokens() -> None:
    sources = [Source.STUDENT, Source.TEACHER, Source.STUDENT, Source.STUDENT]
    assert trajectory(sources, call(written=1)).call_ratio == 0.25


def test_an_empty_output_has_a_call_ratio_of_zero() -> None:
    assert trajectory().call_ratio == 0.0


@pytest.mark.parametrize(("written", "called"), [((), False), ((0,), False), ((0, 2), True)])
def test_called_means_that_the_teacher_wrote_something(written: tuple[int, ...], called: bool) -> None:
    assert trajectory([], *map(call, written)).called is called


@pytest.mark.parametrize("ending", CallEnding)
def test_only_a_failed_call_makes_a_trajectory_untrainable(ending: CallEnding) -> None:
    found = trajectory([], call(3), call(0, ending))
    assert found.trainable is (ending is not CallEnding.FAILED)


def test_rejected_commands_add_up() -> None:
    assert RejectedCommands(zero=1, malformed=2, unterminated=3, over_limit=4).total == 10


def test_a_field_of_all_calls_is_one_column() -> None:
    batch = TrajectoryBatch.of([trajectory([], call(3), call(4)), trajectory(), trajectory([], call(5))])
    assert batch.call_column("written").tolist() == [3, 4, 5]
    assert batch.call_column("ending").tolist() == [CallEnding.COMPLETED] * 3
