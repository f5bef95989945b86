"""Arrangement: which places are reserved together, in which order, on nodes that need not be equal."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.arrangement import Block, arranged, divided
from cluster.placement import Bundle, Near, Node, places


def nodes(*gpus: float) -> list[Node]:
    return [Node(f"node-{index}", 64, count, 64, count) for index, count in enumerate(gpus)]


def run(teacher_gpus: float, workers: int, ranks: int) -> list[Bundle]:
    return [
        Bundle("teacher", 1, teacher_gpus),
        *(Bundle(f"rollout-{i}", 1, 1, near=Near.APART) for i in range(workers)),
        Bundle("reward", 1, 0),
        *(Bundle(f"learner-{i}", 1, 1, near=Near.TOGETHER) for i in range(ranks)),
    ]


def shape(blocks: list[Block] | None) -> list[tuple[str, list[str]]]:
    assert blocks is not None
    return [(block.strategy, [place.actor for place in block.places]) for block in blocks]


def test_learner_ranks_are_on_one_node_and_rollout_workers_on_many() -> None:
    assert shape(arranged(run(1, 3, 4), nodes(8, 8))) == [
        ("STRICT_PACK", ["learner-0", "learner-1", "learner-2", "learner-3"]),
        ("PACK", ["teacher", "reward"]),
        ("SPREAD", ["rollout-0", "rollout-1", "rollout-2"]),
    ]


def test_a_teacher_that_needs_more_of_a_node_is_reserved_before_the_learner() -> None:
    assert [block.strategy for block in arranged(run(4, 1, 2), nodes(4, 2, 1)) or []] == [
        "PACK",
        "STRICT_PACK",
        "SPREAD",
    ]


def test_ranks_that_no_node_holds_are_divided_among_what_the_teacher_leaves() -> None:
    blocks = arranged(run(8, 1, 12), nodes(8, 8, 5))
    assert [(block.strategy, len(block.places)) for block in blocks or []] == [
        ("PACK", 2),
        ("STRICT_PACK", 7),
        ("STRICT_PACK", 5),
        ("SPREAD", 1),
    ]


def test_ranks_of_one_node_have_consecutive_numbers() -> None:
    blocks = arranged(run(1, 1, 10), nodes(8, 8))
    ranks = [[place.actor for place in block.places] for block in blocks or [] if block.strategy == "STRICT_PACK"]
    assert ranks == [[f"learner-{i}" for i in range(5)], [f"learner-{i}" for i in range(5, 10)]]


def test_engines_that_share_gpus_with_ranks_lie_together_too() -> None:
    colocated = [
        *(Bundle(f"rollout-{i}", 1, 0.6, near=Near.TOGETHER) for i in range(2)),
        *(Bundle(f"learner-{i}", 1, 0.4, f"rollout-{i}", Near.TOGETHER) for i in range(2)),
    ]
    (block,) = arranged(places(colocated), nodes(1, 2)) or []
    assert block.strategy == "STRICT_PACK"
    assert [(place.actor, place.cpus, place.gpus) for place in block.places] == [
        ("rollout-0", 2, 1),
        ("rollout-1", 2, 1),
    ]


@pytest.mark.parametrize("free", [(4,), (4, 3), ()])
def test_without_room_there_is_no_arrangement(free: tuple[float, ...]) -> None:
    assert arranged(run(4, 1, 4), nodes(*free)) is None


def test_parts_are_equal_where_the_rooms_allow_it() -> None:
    assert divided(12, [8, 8, 8]) == [6, 6]
    assert divided(12, [8, 2, 4]) == [8, 4]
    assert divided(7, [3, 3, 3]) == [3, 2, 2]
    assert divided(3, [0, 3]) == [3]
    assert divided(3, [1, 1]) == []


@given(st.integers(1, 100), st.lists(st.integers(0, 16), max_size=12))
def test_parts_hold_all_and_fit_their_rooms(count: int, rooms: list[int]) -> None:
    parts = divided(count, rooms)
    if sum(rooms) < count:
        assert parts == []
    else:
        largest = sorted(rooms, reverse=True)
        assert sum(parts) == count
        assert all(0 < part <= room for part, room in zip(parts, largest, strict=False))
        assert sum(largest[: len(parts) - 1]) < count  # fewer rooms would not do
