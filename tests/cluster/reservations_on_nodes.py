"""Reserves places for several runs on a simulated cluster, and prints where their actors landed as a line of JSON.

Its argument is what the actors of the run for two GPUs need, as a JSON list of the arguments of `Bundle`.
"""

from __future__ import annotations

import json
import sys
from concurrent.futures import ThreadPoolExecutor

import ray
from ray.cluster_utils import Cluster
from ray.util.placement_group import placement_group, remove_placement_group

from cluster.placement import Bundle, Near
from cluster.reservation import PlacementError, Reservation, reserve


def run(teacher_gpus: float, workers: int, ranks: int) -> list[Bundle]:
    return [
        Bundle("teacher", 0.25, teacher_gpus),
        *(Bundle(f"rollout-{i}", 0.25, 1, near=Near.APART) for i in range(workers)),
        Bundle("reward", 0.25, 0),
        *(Bundle(f"learner-{i}", 0.25, 1, near=Near.TOGETHER) for i in range(ranks)),
    ]


@ray.remote
class Actor:
    def gpus(self) -> list[str]:
        found: list[str] = ray.get_runtime_context().get_accelerator_ids()["GPU"]
        return found


def main() -> None:
    cluster = Cluster()
    names: dict[str, str] = {}

    def add_node(name: str, gpus: int) -> None:
        names[cluster.add_node(num_cpus=4, num_gpus=gpus, include_dashboard=False).node_id] = name

    for name, gpus in {"four": 4, "four too": 4, "two": 2}.items():
        add_node(name, gpus)
    ray.init(address=cluster.address, log_to_driver=False)
    found: dict[str, object] = {}

    def note(what: str, reservation: Reservation) -> None:
        found[what] = {actor: names[node] for actor, node in reservation.nodes().items()}

    def noted(what: str, bundles: list[Bundle]) -> None:
        reservation = reserve(bundles, what, timeout_s=60)
        note(what, reservation)
        reservation.release()

    noted("a common run", run(2, 3, 2))
    noted("a large learner", run(4, 0, 6))

    busy = placement_group([{"GPU": 4}, {"GPU": 4}], strategy="STRICT_SPREAD", name="another run")
    assert busy.wait(60)
    try:
        reserve(run(1, 1, 1), "refused", timeout_s=1)
    except PlacementError as error:
        found["refused"] = str(error)

    asked = json.loads(sys.argv[1])
    bundles = {name: Bundle(name, cpus, gpus, beside, Near(near)) for name, cpus, gpus, beside, near in asked}
    reservation = reserve(list(bundles.values()), "two GPUs", timeout_s=60)
    note("two GPUs: nodes", reservation)
    actors = {
        name: Actor.options(  # type: ignore[attr-defined]
            num_cpus=bundle.cpus, num_gpus=bundle.gpus, scheduling_strategy=reservation.strategy(name)
        ).remote()
        for name, bundle in bundles.items()
    }
    found["two GPUs"] = {name: ray.get(actor.gpus.remote()) for name, actor in actors.items()}
    reservation.release()
    remove_placement_group(busy)

    with ThreadPoolExecutor() as beside:
        waiting = beside.submit(reserve, run(8, 1, 1), "a node that joins", 60)
        add_node("eight", 8)
        note("a node that joins", waiting.result())
        waiting.result().release()

    states = ray.util.placement_group_table().values()
    found["groups at the end"] = [group["name"] for group in states if group["state"] != "REMOVED"]
    ray.shutdown()
    cluster.shutdown()
    print(json.dumps(found))


if __name__ == "__main__":
    main()
