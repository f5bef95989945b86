"""Resources of a run: one placement group with a bundle for each actor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cluster.errors import ClusterError

if TYPE_CHECKING:
    from ray.util.placement_group import PlacementGroup


@dataclass(frozen=True, slots=True)
class Bundle:
    """What one actor needs."""

    actor: str
    """the actor's name, as the dashboard shows it"""
    cpus: float
    gpus: float
    beside: str | None = None
    """an earlier bundle's actor on whose GPU this one has to be; any GPU with room if empty"""

    @property
    def resources(self) -> dict[str, float]:
        return {"CPU": self.cpus} | ({"GPU": self.gpus} if self.gpus else {})


class PlacementError(ClusterError):
    """The cluster cannot hold the run."""


def total(bundles: Sequence[Bundle]) -> tuple[float, float]:
    """Return CPUs and GPUs of all bundles together."""
    return sum(bundle.cpus for bundle in bundles), sum(bundle.gpus for bundle in bundles)


def table(bundles: Sequence[Bundle]) -> str:
    """Return the bundles as text, one line each and the sum."""
    cpus, gpus = total(bundles)
    rows = [(bundle.actor, f"{bundle.cpus:g}", f"{bundle.gpus:g}") for bundle in bundles]
    rows = [("actor", "CPUs", "GPUs"), *rows, ("total", f"{cpus:g}", f"{gpus:g}")]
    return "\n".join(f"{name:<24}{cpu:>6}{gpu:>6}" for name, cpu, gpu in rows)


def places(bundles: Sequence[Bundle]) -> dict[str, int]:
    """Return each actor's place in the placement group: the same one for actors that are beside each other."""
    found: dict[str, int] = {}
    for bundle in bundles:
        found[bundle.actor] = len(set(found.values())) if bundle.beside is None else found[bundle.beside]
    return found


def reserve(bundles: Sequence[Bundle], name: str, timeout_s: float) -> PlacementGroup:
    """Return a placement group that holds all bundles, or raise `PlacementError` after `timeout_s`.

    Ray would wait for ever for what a cluster can never offer.
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
