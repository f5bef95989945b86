"""The Kubernetes files are what KubeRay reads, and offer exactly the GPUs that the runs which they name reserve."""

from __future__ import annotations

import json
import math
import os
import shlex
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from cluster.placement import total
from pipelines.experiment.loading import load
from pipelines.experiment.schema import Experiment
from pipelines.study.plan import load_study
from tests.cluster.kuberay_fields import resource

REPOSITORY = Path(__file__).parents[2]
FOLDER = REPOSITORY / "cluster" / "kuberay"
IN_THE_IMAGE = "/opt/relayllm/"
RUNS = ("rayjob", "rayjob-2gpus", "raycluster")
CLUSTERS = (*RUNS, "rayservice")
CRDS = Path(os.environ.get("RELAY_KUBERAY_CRDS", REPOSITORY.parent / "shared" / "kuberay"))


def read(name: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((FOLDER / f"{name}.yaml").read_text(encoding="utf-8"))
    return found


def cluster_of(manifest: dict[str, Any]) -> dict[str, Any]:
    spec = manifest["spec"]
    found: dict[str, Any] = spec.get("rayClusterSpec") or spec.get("rayClusterConfig") or spec
    return found


def pods(name: str) -> Iterator[dict[str, Any]]:
    """Yield the pod templates of the head and of all groups of workers."""
    cluster = cluster_of(read(name))
    for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
        yield group["template"]["spec"]


def offered(name: str) -> tuple[int, int]:
    """Return the CPUs and GPUs of all nodes on which actors can be."""
    cluster = cluster_of(read(name))
    assert cluster["headGroupSpec"]["rayStartParams"] == {"num-cpus": "0"}
    cpus = gpus = 0
    for group in cluster["workerGroupSpecs"]:
        (container,) = group["template"]["spec"]["containers"]
        limits = container["resources"]["limits"]
        assert container["resources"]["requests"] == limits
        assert group["minReplicas"] == group["replicas"] == group["maxReplicas"]
        cpus += group["replicas"] * int(limits["cpu"])
        gpus += group["replicas"] * int(limits["nvidia.com/gpu"])
    return cpus, gpus


def experiments(name: str) -> list[Experiment]:
    """Return the experiments that the manifest runs. A standing cluster is for the paper's runs with eight GPUs."""
    entrypoint = read(name)["spec"].get("entrypoint") or f"relayllm run {IN_THE_IMAGE}experiments/paper/relay.yaml"
    program, command, path, *overrides = shlex.split(entrypoint)
    assert program == "relayllm" and path.startswith(IN_THE_IMAGE)
    file = REPOSITORY / path.removeprefix(IN_THE_IMAGE)
    if command == "run":
        return [load(file, overrides, Experiment)]
    return [run.experiment for run in load_study(file, overrides).runs.values()]


@pytest.mark.parametrize("name", CLUSTERS)
def test_manifests_have_only_fields_that_kuberay_knows(name: str) -> None:
    manifest = read(name)
    jsonschema.validate(manifest, resource(manifest["kind"]))


@pytest.mark.parametrize("name", CLUSTERS)
@pytest.mark.skipif(not CRDS.is_dir(), reason="KubeRay's resource definitions are not there: see RELAY_KUBERAY_CRDS")
def test_manifests_follow_kuberays_resource_definitions(name: str) -> None:
    manifest = read(name)
    schema = definition(manifest["kind"])
    jsonschema.Draft202012Validator(schema).validate(manifest)
    unknown = json.loads(json.dumps(manifest).replace("volumeMounts", "volumeMount"))
    assert not jsonschema.Draft202012Validator(schema).is_valid(unknown)


@cache
def definition(kind: str) -> Any:
    """Return KubeRay's schema of a kind of resource."""
    found = yaml.load((CRDS / f"ray.io_{kind.lower()}s.yaml").read_text(encoding="utf-8"), yaml.CSafeLoader)
    (version,) = (one for one in found["spec"]["versions"] if one["name"] == "v1")
    return strict(version["schema"]["openAPIV3Schema"])


def strict(schema: Any) -> Any:
    """Return a resource definition's schema as a JSON schema that refuses unknown fields, as `kubectl apply` does."""
    if isinstance(schema, list):
        return [strict(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    found = {key: strict(value) for key, value in schema.items() if key not in ("format", "default", "description")}
    free = schema.get("x-kubernetes-preserve-unknown-fields") or "additionalProperties" in schema
    if isinstance(schema.get("properties"), dict) and "type" in schema and not free:
        found["additionalProperties"] = False
        if set(schema["properties"]) == {"apiVersion", "kind", "metadata", "spec", "status"}:
            found["properties"]["metadata"] = {"type": "object"}
    return found


@pytest.mark.parametrize("name", RUNS)
def test_the_workers_offer_exactly_the_gpus_of_the_runs(name: str) -> None:
    needs = [total(each.bundles()) for run in experiments(name) for each in (run, run.with_final_teacher())]
    cpus, gpus = offered(name)
    assert gpus == math.ceil(max(gpus for _, gpus in needs))
    assert cpus >= max(cpus for cpus, _ in needs)


@pytest.mark.parametrize("name", RUNS)
def test_a_node_is_no_smaller_than_what_must_be_whole_on_it(name: str) -> None:
    (group,) = cluster_of(read(name))["workerGroupSpecs"]
    on_a_node = int(group["template"]["spec"]["containers"][0]["resources"]["limits"]["nvidia.com/gpu"])
    for run in experiments(name):
        learner = [bundle for bundle in run.bundles() if bundle.actor.startswith("learner")]
        assert max([total(learner)[1], *(bundle.gpus for bundle in run.bundles())]) <= on_a_node


@pytest.mark.parametrize("name", CLUSTERS)
def test_every_cluster_asks_for_the_token_of_the_secret(name: str) -> None:
    assert cluster_of(read(name))["authOptions"] == {"mode": "token", "secretName": "relayllm-token"}


@pytest.mark.parametrize("name", CLUSTERS)
def test_all_nodes_have_the_shared_disk_and_one_image(name: str) -> None:
    claim = read("storage")
    assert (claim["kind"], claim["spec"]["accessModes"]) == ("PersistentVolumeClaim", ["ReadWriteMany"])
    dockerfile = (REPOSITORY / "cluster" / "docker" / "Dockerfile").read_text()
    for pod in pods(name):
        (container,) = pod["containers"]
        assert {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]} == {
            "shared": "/shared",
            "shm": "/dev/shm",
        }
        volumes = {volume["name"]: volume for volume in pod["volumes"]}
        assert volumes["shared"]["persistentVolumeClaim"] == {"claimName": claim["metadata"]["name"]}
        assert volumes["shm"]["emptyDir"] == {"medium": "Memory"}
        image, _, tag = container["image"].partition(":")
        assert f"--target {tag} -t {image}:{tag} " in dockerfile and f" AS {tag}\n" in dockerfile
        assert pod["securityContext"]["runAsUser"] == 1000  # that of the image


@pytest.mark.parametrize("name", CLUSTERS)
def test_manifests_ask_for_the_installed_ray(name: str) -> None:
    pyproject = (REPOSITORY / "pyproject.toml").read_text(encoding="utf-8")
    assert f"]=={cluster_of(read(name))['rayVersion']}" in pyproject


@pytest.mark.parametrize("name", ["rayjob", "rayjob-2gpus"])
def test_a_stopped_job_has_time_to_finish_and_a_failed_one_goes_on_in_its_folder(name: str) -> None:
    spec = read(name)["spec"]
    environment = yaml.safe_load(spec["runtimeEnvYAML"])["env_vars"]
    assert int(environment["RAY_JOB_STOP_WAIT_TIME_S"]) > 3
    assert "PYTHONPATH" not in environment
    assert spec["backoffLimit"] > 0 and spec["entrypoint"].split()[-1].startswith("directory=/shared/")


def test_the_fields_that_are_checked_refuse_a_wrong_name() -> None:
    manifest = json.loads(json.dumps(read("rayjob")).replace("headGroupSpec", "headGroup"))
    with pytest.raises(jsonschema.ValidationError, match="headGroup"):
        jsonschema.validate(manifest, resource("RayJob"))
