"""Reserves the resources of a run: one placement group, in which every actor has its place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cluster.errors import ClusterError

if TYPE_CHECKING:
    from ray.util.placement_group import PlacementGroup


@dataclass(frozen=True, slots=True)
class Bundle:
    """The resources that one actor needs."""

    actor: str
    """the actor's name, as the dashboard shows it"""
    cpus: float
    gpus: float
    beside: str | None = None
    """name of an actor, from an earlier bundle, whose place and so GPU this one shares; None for a place of its own"""

    @property
    def resources(self) -> dict[str, float]:
        return {"CPU": self.cpus} | ({"GPU": self.gpus} if self.gpus else {})


class PlacementError(ClusterError):
    """The cluster did not offer the resources of the run."""


def total(bundles: Sequence[Bundle]) -> tuple[float, float]:
    """Return the sums of CPUs and of GPUs over all bundles."""
    return sum(bundle.cpus for bundle in bundles), sum(bundle.gpus for bundle in bundles)


def table(bundles: Sequence[Bundle]) -> str:
    """Return the bundles as a text table, with one line each and a line with the sums."""
    cpus, gpus = total(bundles)
    rows = [(bundle.actor, f"{bundle.cpus:g}", f"{bundle.gpus:g}") for bundle in bundles]
    rows = [("actor", "CPUs", "GPUs"), *rows, ("total", f"{cpus:g}", f"{gpus:g}")]
    return "\n".join(f"{name:<24}{cpu:>6}{gpu:>6}" for name, cpu, gpu in rows)


def places(bundles: Sequence[Bundle]) -> dict[str, int]:
    """Return the index of each actor's bundle in the placement group. An actor that is `beside` another has the same index."""
    found: dict[str, int] = {}
    for bundle in bundles:
        found[bundle.actor] = len(set(found.values())) if bundle.beside is None else found[bundle.beside]
    return found


def reserve(bundles: Sequence[Bundle], name: str, timeout_s: float) -> PlacementGroup:
    """Return a placement group that holds all bundles, or raise `PlacementError` after `timeout_s`.

    The deadline is needed because Ray waits forever for resources that a cluster can never offer.
    """
    import ray
    from ray.util.placement_group import placement_group, remove_placement_group

    wanted: dict[int, dict[str, float]] = {}
    for bundle, place in zip(bundles, places(bundles).values(), strict=True):
        at_place = wanted.setdefault(place, {})
        for resource, amount in bundle.resources.items():
            at_place[resource] = round(at_place.get(resource, 0) + amount, 4)
    group = placement_group(list(wanted.values()), strategy="PACK", name=name)
    if not group.wait(timeout_s):
        remove_placement_group(group)
        raise PlacementError(
            f"the cluster did not offer the resources of this run within {timeout_s:g} s.\n{table(bundles)}\n"
            f"cluster: {_offer(ray.cluster_resources())}; free now: {_offer(ray.available_resources())}"
        )
    return group


def _offer(resources: Mapping[str, float]) -> str:
    return f"{resources.get('CPU', 0):g} CPUs, {resources.get('GPU', 0):g} GPUs"
