"""Which places of a run lie together: the blocks that Ray reserves one after the other. Pure functions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from cluster.placement import Bundle, Near, Node, total


@dataclass(frozen=True, slots=True)
class Block:
    """Places that Ray reserves as one placement group."""

    strategy: Literal["PACK", "STRICT_PACK", "SPREAD"]
    places: tuple[Bundle, ...]

    @property
    def whole(self) -> list[tuple[Bundle, ...]]:
        """The parts of the block that each have to be on one node."""
        return [self.places] if self.strategy == "STRICT_PACK" else [(place,) for place in self.places]


def arranged(wanted: Sequence[Bundle], nodes: Sequence[Node]) -> list[Block] | None:
    """Return the places in blocks, in the order in which to reserve them, or None if they find no room in that order.

    What needs most of one node comes first, and what lies apart comes last. If no node has room for all places that lie
    together, these are divided among the nodes after the other large places are taken.
    """
    kinds = {near: tuple(place for place in wanted if place.near == near) for near in Near}
    others, together = Block("PACK", kinds[Near.ANY]), Block("STRICT_PACK", kinds[Near.TOGETHER])
    undivided = any(_room(node, together.places) == len(together.places) for node in nodes)
    blocks = sorted([together, others], key=_most_of_one_node, reverse=True) if undivided else [others]
    free: list[Node] | None = list(nodes)
    for block in blocks:
        free = _without(block, free)
    if free is None:
        return None
    if not undivided:
        parts = divided(len(together.places), [_room(node, together.places) for node in free])
        if not parts:
            return None
        ends = [sum(parts[: index + 1]) for index in range(len(parts))]
        blocks += [
            Block("STRICT_PACK", together.places[end - part : end]) for part, end in zip(parts, ends, strict=True)
        ]
    blocks.append(Block("SPREAD", kinds[Near.APART]))
    return [block for block in blocks if block.places]


def divided(count: int, rooms: Sequence[int]) -> list[int]:
    """Return how many of `count` equal things go to each of the fewest rooms that hold them, as equally as they allow.

    The largest part comes first. The list is empty if the rooms are too small.
    """
    largest = sorted(rooms, reverse=True)
    used = next((used for used in range(1, len(largest) + 1) if sum(largest[:used]) >= count), 0)
    parts: list[int] = []
    for rooms_left, room in zip(range(used, 0, -1), reversed(largest[:used]), strict=True):
        even = (count - sum(parts)) // rooms_left
        parts.append(min(room, even))
    return parts[::-1]


def _most_of_one_node(block: Block) -> tuple[float, float]:
    """Return the most GPUs, and CPUs, that the block needs on one node."""
    return max((total(part)[::-1] for part in block.whole), default=(0.0, 0.0))


def _without(block: Block, nodes: list[Node] | None) -> list[Node] | None:
    """Return the nodes with the block on them, each part where it leaves least. None if there is no room for it."""
    if nodes is None:
        return None
    nodes = list(nodes)
    for part in sorted(block.whole, key=lambda part: total(part)[::-1], reverse=True):
        with_room = [index for index, node in enumerate(nodes) if _room(node, part) == len(part)]
        if not with_room:
            return None
        best = min(with_room, key=lambda index: (nodes[index].free_gpus, nodes[index].free_cpus))
        for place in part:
            nodes[best] = _with(nodes[best], place)
    return nodes


def _room(node: Node, wanted: Sequence[Bundle]) -> int:
    """Return how many of the places, counted from the first one, the node has room for."""
    for count, place in enumerate(wanted):
        if place.cpus > node.free_cpus or place.gpus > node.free_gpus:
            return count
        node = _with(node, place)
    return len(wanted)


def _with(node: Node, place: Bundle) -> Node:
    """Return the node with the place on it."""
    return replace(
        node, free_cpus=round(node.free_cpus - place.cpus, 4), free_gpus=round(node.free_gpus - place.gpus, 4)
    )
