"""What the actors of a run need, what the nodes of a cluster have, and both as tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum


class Near(StrEnum):
    """Where an actor lies among those of its kind. Each actor is whole on one node in any case."""

    ANY = "any"
    """on few nodes"""
    TOGETHER = "together"
    """all on one node if it has room, else in equal parts on as few nodes as possible"""
    APART = "apart"
    """on as many nodes as possible"""


@dataclass(frozen=True, slots=True)
class Bundle:
    """The resources that one actor needs."""

    actor: str
    """the actor's name, as the dashboard shows it"""
    cpus: float
    gpus: float
    beside: str | None = None
    """name of an actor, from an earlier bundle, whose place and so GPU this one shares; None for a place of its own"""
    near: Near = Near.ANY
    """for an actor with a place of its own"""

    @property
    def resources(self) -> dict[str, float]:
        return {"CPU": self.cpus} | ({"GPU": self.gpus} if self.gpus else {})


@dataclass(frozen=True, slots=True)
class Node:
    """What one node of the cluster has, and what of it is free."""

    name: str
    cpus: float
    gpus: float
    free_cpus: float
    free_gpus: float


def total(bundles: Sequence[Bundle]) -> tuple[float, float]:
    """Return the sums of CPUs and of GPUs over all bundles."""
    return sum(bundle.cpus for bundle in bundles), sum(bundle.gpus for bundle in bundles)


def table(bundles: Sequence[Bundle]) -> str:
    """Return the bundles as a text table, with one line each and a line with the sums."""
    cpus, gpus = total(bundles)
    rows = [(bundle.actor, f"{bundle.cpus:g}", f"{bundle.gpus:g}") for bundle in bundles]
    rows = [("actor", "CPUs", "GPUs"), *rows, ("total", f"{cpus:g}", f"{gpus:g}")]
    return "\n".join(f"{name:<24}{cpu:>6}{gpu:>6}" for name, cpu, gpu in rows)


def table_of_nodes(nodes: Sequence[Node]) -> str:
    """Return the nodes as a text table: what each has, and what of that is free."""
    rows = [
        (node.name, f"{node.free_cpus:g} of {node.cpus:g}", f"{node.free_gpus:g} of {node.gpus:g}") for node in nodes
    ]
    width = max([22, *(len(node.name) for node in nodes)])
    return "\n".join(
        f"{name:<{width}}{cpus:>14}{gpus:>12}" for name, cpus, gpus in [("node", "CPUs free", "GPUs free"), *rows]
    )


def place_of(bundles: Sequence[Bundle]) -> dict[str, str]:
    """Return for each actor the first actor at its place: itself, or the one that it is `beside`."""
    found: dict[str, str] = {}
    for bundle in bundles:
        found[bundle.actor] = bundle.actor if bundle.beside is None else found[bundle.beside]
    return found


def places(bundles: Sequence[Bundle]) -> list[Bundle]:
    """Return one bundle for each place, with the name of its first actor and the resources of all actors there."""
    found: dict[str, Bundle] = {}
    first = place_of(bundles)
    for bundle in bundles:
        if (place := found.get(first[bundle.actor])) is None:
            found[bundle.actor] = bundle
        else:
            cpus, gpus = round(place.cpus + bundle.cpus, 4), round(place.gpus + bundle.gpus, 4)
            found[place.actor] = replace(place, cpus=cpus, gpus=gpus)
    return list(found.values())


def misfit(bundles: Sequence[Bundle], nodes: Sequence[Node]) -> str:
    """Return in words why the bundles find no room on the nodes now."""
    wanted = places(bundles)
    # of GPUs and of CPUs: what each place needs, what each node has, and what of that is free
    columns = {
        "GPUs": ([place.gpus for place in wanted], [node.gpus for node in nodes], [node.free_gpus for node in nodes]),
        "CPUs": ([place.cpus for place in wanted], [node.cpus for node in nodes], [node.free_cpus for node in nodes]),
    }
    for what, (needs, there, free) in columns.items():
        largest = max(there, default=0.0)
        for place, need in zip(wanted, needs, strict=True):
            if need > largest:
                return f"{place.actor} needs {need:g} {what} on one node, and no node has more than {largest:g}"
        if (need := sum(needs)) > sum(there):
            return f"the run needs {need:g} {what}, and all nodes together have {sum(there):g}"
        if need > sum(free):
            return f"the run needs {need:g} {what}, and of {sum(there):g} {sum(free):g} are free"
    return (
        "the cluster has enough free, but some actor, which must be whole on one node, finds no node with room for it"
    )
