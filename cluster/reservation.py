"""Reserves the resources of a run in Ray: placement groups, in which every actor has its place."""

from __future__ import annotations

import logging
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cluster.arrangement import Block, arranged
from cluster.errors import ClusterError
from cluster.placement import Bundle, Node, misfit, place_of, places, table, table_of_nodes

if TYPE_CHECKING:
    from ray.util.placement_group import PlacementGroup
    from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

logger = logging.getLogger(__name__)

_SETTLED_S = 10.0
"""how long Ray may take to reserve what is free, and to count as free what was released"""
_PART = "/"
"""in the name of a placement group, between the name of the run and that of its first actor in the group"""
_HOLDING = ("CREATED", "RESCHEDULING")
"""states of placement groups that hold resources"""


class PlacementError(ClusterError):
    """The cluster did not offer the resources of the run."""


@dataclass(frozen=True, slots=True)
class Reservation:
    """The places of all actors of a run. They are free again after `release`."""

    groups: Sequence[PlacementGroup]
    at: Mapping[str, tuple[PlacementGroup, int]]
    """actor -> its placement group, and the index of its bundle there"""

    def strategy(self, actor: str) -> PlacementGroupSchedulingStrategy:
        """Return the scheduling strategy that starts an actor at its place."""
        from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

        return PlacementGroupSchedulingStrategy(*self.at[actor])

    def nodes(self) -> dict[str, str]:
        """Return the id of the node on which each actor's place is."""
        from ray.util.placement_group import placement_group_table

        found = {group.id: placement_group_table(group)["bundles_to_node_id"] for group in self.groups}
        return {actor: found[group.id][index] for actor, (group, index) in self.at.items()}

    def release(self) -> None:
        """Give all places back, with the actors that are still there."""
        from ray.util.placement_group import remove_placement_group

        for group in self.groups:
            remove_placement_group(group)


def nodes_now() -> dict[str, Node]:
    """Return all nodes of the cluster that are alive, by their ids. What is free may be some moments old."""
    import ray
    import ray._private.state

    free = ray._private.state.available_resources_per_node()
    return {
        node["NodeID"]: Node(
            f"{node['NodeManagerHostname']} ({node['NodeManagerAddress']})",
            *(float(has.get(what, 0)) for has in (node["Resources"], free[node["NodeID"]]) for what in ("CPU", "GPU")),
        )
        for node in ray.nodes()
        if node["Alive"] and node["NodeID"] in free
    }


def reserve(bundles: Sequence[Bundle], name: str, timeout_s: float) -> Reservation:
    """Return places for all bundles, under the name of the run, or raise `PlacementError` after `timeout_s`.

    First the run waits until there is room for all of it at once. So two runs never wait for each other, and an autoscaler
    sees what is missing. The deadline is needed because Ray waits forever for what a cluster can never offer. On a cluster of
    several nodes the places are then reserved anew, as each bundle's `near` asks. If that fails, they lie where Ray packs them.
    """
    deadline = time.monotonic() + timeout_s
    all_at_once = [Block("PACK", tuple(places(bundles)))]
    packed = _reserved(all_at_once, bundles, name, timeout_s)
    if packed is not None and len(nodes_now()) > 1:
        held = packed.nodes()
        packed.release()
        blocks = arranged(places(bundles), _once_free(places(bundles), held))
        if blocks is not None and (found := _reserved(blocks, bundles, name, _SETTLED_S)) is not None:
            logger.info("%s", _described(found))
            return found
        packed = _reserved(all_at_once, bundles, name, max(deadline - time.monotonic(), _SETTLED_S))
        if packed is not None:
            logger.warning(
                "what is free on the nodes leaves no room to keep learner ranks together and rollout workers apart: %s",
                _described(packed),
            )
    if packed is None:
        raise PlacementError(_refusal(bundles, name, timeout_s))
    return packed


def _reserved(blocks: Sequence[Block], bundles: Sequence[Bundle], name: str, timeout_s: float) -> Reservation | None:
    """Return a placement group for each block, reserved in order, or None if one of them is not there after `timeout_s`."""
    from ray.util.placement_group import placement_group

    groups: list[PlacementGroup] = []
    at: dict[str, tuple[PlacementGroup, int]] = {}
    for block in blocks:
        of_its_own = f"{name}{_PART}{block.places[0].actor}"  # Ray refuses a second group of one name
        groups.append(
            placement_group([one.resources for one in block.places], strategy=block.strategy, name=of_its_own)
        )
        at |= {place.actor: (groups[-1], index) for index, place in enumerate(block.places)}
        if not groups[-1].wait(timeout_s):
            Reservation(groups, {}).release()
            return None
    return Reservation(groups, {actor: at[first] for actor, first in place_of(bundles).items()})


def _once_free(wanted: Sequence[Bundle], held: Mapping[str, str]) -> list[Node]:
    """Return all nodes once Ray counts as free what the places held on them, by actor; at the latest after some seconds."""
    cpus, gpus = defaultdict[str, float](float), defaultdict[str, float](float)
    for place in wanted:
        cpus[held[place.actor]] += place.cpus
        gpus[held[place.actor]] += place.gpus
    deadline = time.monotonic() + _SETTLED_S
    while True:
        nodes = nodes_now()
        behind = (cpus[key] - node.free_cpus > 1e-3 or gpus[key] - node.free_gpus > 1e-3 for key, node in nodes.items())
        if not any(behind) or time.monotonic() > deadline:
            return list(nodes.values())
        time.sleep(0.05)


def _described(reservation: Reservation) -> str:
    """Return as text which actors are on which node."""
    names = {key: node.name for key, node in nodes_now().items()}
    on: dict[str, list[str]] = {}
    for actor, key in reservation.nodes().items():
        on.setdefault(names.get(key, key), []).append(actor)
    return "; ".join(f"on {node}: {', '.join(actors)}" for node, actors in on.items())


def _refusal(bundles: Sequence[Bundle], name: str, timeout_s: float) -> str:
    from ray.util.placement_group import placement_group_table

    nodes = list(nodes_now().values())
    holding = [group["name"] for group in placement_group_table().values() if group["state"] in _HOLDING]
    others = sorted({group.partition(_PART)[0] or "a group without a name" for group in holding} - {name})
    in_use = f"\nin use by: {', '.join(others)}" if others else ""
    return (
        f"the cluster did not offer the resources of this run within {timeout_s:g} s: {misfit(bundles, nodes)}.\n"
        f"{table(bundles)}\n\n{table_of_nodes(nodes)}{in_use}"
    )
