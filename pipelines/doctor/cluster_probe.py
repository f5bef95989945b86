"""Joins a Ray cluster and looks at its nodes: `python -m pipelines.doctor.cluster_probe ADDRESS EXPERIMENT-AS-JSON`."""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from cluster.devices import Device
from cluster.machine import nodes_of_cluster
from cluster.session import ray_session
from pipelines.doctor.checks import first_line, results
from pipelines.doctor.children import tell
from pipelines.doctor.findings import Finding, Group, as_mapping, broken, fine, warning
from pipelines.doctor.libraries import LIMIT_S
from pipelines.doctor.memory import memory
from pipelines.doctor.plan import machine_checks
from pipelines.doctor.storage import nearest
from pipelines.doctor.versions import versions
from pipelines.experiment.schema import Experiment

_TASK_S = LIMIT_S + 60.0


def main(address: str, settings: str) -> None:
    """Print the findings on the cluster and on each node, each as soon as it is there."""
    import ray

    experiment = Experiment.model_validate_json(settings)
    with ray_session("relay-doctor", address, 0, 0), _markers(experiment) as markers:
        nodes = {_name(node): node for node in ray.nodes() if node["Alive"]}
        about = [*_offers(experiment, nodes), *memory(experiment, nodes_of_cluster(), Group.CLUSTER)]
        tell(cluster=[as_mapping(finding) for finding in about])
        calls = {_look(node, experiment, settings, markers): name for name, node in nodes.items()}
        seen: dict[str, dict[str, Any]] = {}
        waiting, until = list(calls), time.monotonic() + _TASK_S
        while waiting:
            ready, waiting = ray.wait(waiting, timeout=max(until - time.monotonic(), 0.0))
            if not ready:
                break
            name = calls[ready[0]]
            try:
                seen[name] = ray.get(ready[0])
            except Exception as error:  # whatever a node raises is a fact about it
                _tell_node(name, [_unseen(f"the task failed: {first_line(getattr(error, 'cause', None) or error)}")])
                continue
            _tell_node(name, seen[name]["findings"])
        for call in waiting:
            _tell_node(calls[call], [_unseen(f"the task did not end within {_TASK_S:g} s")])
        alike = [*_versions_alike(seen), *(_shared(experiment, seen, markers) if len(nodes) > 1 else ())]
        tell(nodes_together=[as_mapping(finding) for finding in alike])


def look(settings: str, markers: dict[str, str], has_gpus: bool) -> dict[str, Any]:
    """Return findings, versions, and which of the files `markers` can be seen, on the node where this runs."""
    experiment = Experiment.model_validate_json(settings)
    environ = {name: value for name, value in os.environ.items() if name != "CUDA_VISIBLE_DEVICES"}  # Ray hides them
    found, _ = results(machine_checks(experiment, 1.0 if has_gpus else None, environ))
    seen = [key for key, file in markers.items() if Path(file).is_file()]
    return {"findings": [as_mapping(finding) for finding in found], "versions": versions(), "seen": seen}


def _look(node: dict[str, Any], experiment: Experiment, settings: str, markers: dict[str, str]) -> Any:
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    has_gpus = experiment.cluster.device is Device.GPU and node["Resources"].get("GPU", 0) > 0
    there = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
    task = ray.remote(look).options(num_cpus=0, max_retries=0, scheduling_strategy=there, name="doctor")
    return task.remote(settings, markers, has_gpus)


def _to_be_shared(experiment: Experiment) -> dict[str, Path]:
    return {"run_dir": experiment.directory, "models.cache_dir": experiment.models.cache_dir}


@contextmanager
def _markers(experiment: Experiment) -> Iterator[dict[str, str]]:
    """Yield the paths of empty files, one in each folder that all machines should share. They are removed at the end."""
    with ExitStack() as files:
        made = {}
        for key, folder in _to_be_shared(experiment).items():
            with suppress(OSError):  # the check of the disk reports it
                file = tempfile.NamedTemporaryFile(prefix=".relayllm-doctor-", dir=nearest(folder))  # noqa: SIM115
                made[key] = files.enter_context(file).name
        yield made


def _offers(experiment: Experiment, nodes: dict[str, dict[str, Any]]) -> Iterator[Finding]:
    """Yield whether the cluster has the CPUs and GPUs of all actors, and a node for the largest."""
    offers = [(node["Resources"].get("CPU", 0.0), node["Resources"].get("GPU", 0.0)) for node in nodes.values()]
    cpus, gpus = (sum(column) for column in zip(*offers, strict=True))
    bundles = experiment.bundles()
    needed_cpus, needed_gpus = experiment.resources()
    has = f"{len(nodes)} nodes with {cpus:g} CPUs and {gpus:g} GPUs"
    needs = f"the run needs {needed_cpus:g} CPUs and {needed_gpus:g} GPUs"
    largest = max(bundles, key=lambda bundle: (bundle.gpus, bundle.cpus))
    if needed_cpus > cpus or needed_gpus > gpus:
        remedy = (
            "add nodes, or lower rollout.workers or min_workers, teacher.replicas, learner.ranks, cluster.cpus_per_actor "
            "or cluster.gpus"
        )
        yield broken(Group.CLUSTER, "resources", f"{has}; {needs}", remedy)
    elif not any(largest.cpus <= cpu and largest.gpus <= gpu for cpu, gpu in offers):
        text = f"{has}; no node has the {largest.cpus:g} CPUs and {largest.gpus:g} GPUs of {largest.actor} alone"
        yield broken(Group.CLUSTER, "resources", text, "lower its engine's tensor_parallel, or take larger nodes")
    else:
        yield fine(Group.CLUSTER, "resources", f"{has}; {needs}")


def _versions_alike(seen: dict[str, dict[str, Any]]) -> Iterator[Finding]:
    """Yield each package whose version differs among the nodes and this machine."""
    everywhere = {"this machine": versions(), **{name: one["versions"] for name, one in seen.items()}}
    names = dict.fromkeys(name for found in everywhere.values() for name in found)
    differing = False
    for name in names:
        where: dict[str, list[str]] = {}
        for place, found in everywhere.items():
            where.setdefault(found.get(name, "missing"), []).append(place)
        if len(where) > 1:
            differing = True
            text = f"{name}: " + "; ".join(f"{version} on {', '.join(places)}" for version, places in where.items())
            yield broken(Group.CLUSTER, "same versions", text, "install the same environment on all machines")
    if not differing and seen:
        yield fine(Group.CLUSTER, "same versions", "all nodes and this machine have the same")


def _shared(experiment: Experiment, seen: dict[str, dict[str, Any]], markers: dict[str, str]) -> Iterator[Finding]:
    """Yield whether all nodes see the folders that they should share."""
    for key, folder in _to_be_shared(experiment).items():
        remedy = f"set {key} to an absolute path on a disk that all machines share"
        without = [name for name, one in seen.items() if key not in one["seen"]]
        if not folder.is_absolute():
            text = f"{folder} is relative, and workers on other nodes run in other folders"
            yield warning(Group.CLUSTER, f"shared {key}", text, remedy)
        elif key in markers and without:
            text = f"{folder} on this machine is not what {', '.join(without)} has there"
            yield broken(Group.CLUSTER, f"shared {key}", text, remedy)
        elif key in markers:
            yield fine(Group.CLUSTER, f"shared {key}", f"{folder} is the same on all nodes")


def _unseen(text: str) -> dict[str, Any]:
    remedy = "install the same environment in the same place on all nodes; the node's logs in Ray's folder say more"
    return as_mapping(broken(Group.CLUSTER, "node", text, remedy))


def _tell_node(name: str, found: list[dict[str, Any]]) -> None:
    tell(**{f"node {name}": [finding | {"node": name} for finding in found]})


def _name(node: dict[str, Any]) -> str:
    """Return a short name of a node that is different for each, also where several are on one machine."""
    return f"{node['NodeManagerAddress']} ({node['NodeID'][:6]})"


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
