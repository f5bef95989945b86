"""The cluster files are what KubeRay and Ray's cluster launcher read."""

import importlib.util
import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

CLUSTER = Path(__file__).parents[2] / "cluster"


def read(name: str) -> Any:
    return yaml.safe_load((CLUSTER / name).read_text(encoding="utf-8"))


@pytest.fixture
def job() -> Any:
    return read("kuberay/rayjob.yaml")


def test_the_ray_job_runs_an_experiment(job: Any) -> None:
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    assert job["spec"]["entrypoint"].startswith("python -m pipelines run ")
    assert "run_dir=/shared/" in job["spec"]["entrypoint"]


def test_a_stopped_ray_job_has_time_to_finish(job: Any) -> None:
    environment = yaml.safe_load(job["spec"]["runtimeEnvYAML"])["env_vars"]
    assert int(environment["RAY_JOB_STOP_WAIT_TIME_S"]) > 3
    assert "PYTHONPATH" not in environment


def test_the_workers_have_the_gpus_and_all_nodes_the_shared_disk(job: Any) -> None:
    cluster = job["spec"]["rayClusterSpec"]
    head, worker = cluster["headGroupSpec"], cluster["workerGroupSpecs"][0]
    head_container, worker_container = (group["template"]["spec"]["containers"][0] for group in (head, worker))
    assert "nvidia.com/gpu" not in head_container["resources"]["limits"]
    assert int(worker_container["resources"]["limits"]["nvidia.com/gpu"]) > 0
    assert head["rayStartParams"]["num-cpus"] == "0"
    for group, container in ((head, head_container), (worker, worker_container)):
        volumes = {volume["name"] for volume in group["template"]["spec"]["volumes"]}
        assert {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]} == {
            "shared": "/shared",
            "shm": "/dev/shm",
        }
        assert volumes == {"shared", "shm"}


def test_the_ray_job_asks_for_the_installed_ray(job: Any) -> None:
    pyproject = (CLUSTER.parent / "pyproject.toml").read_text(encoding="utf-8")
    assert f"]=={job['spec']['rayClusterSpec']['rayVersion']}" in pyproject


def test_the_launcher_file_follows_rays_schema() -> None:
    spec = importlib.util.find_spec("ray")
    assert spec is not None and spec.origin is not None
    schema = json.loads((Path(spec.origin).parent / "autoscaler" / "ray-schema.json").read_text())
    jsonschema.validate(read("launcher/on-premise.yaml"), schema)


def test_the_launcher_starts_ray_on_the_named_machines() -> None:
    cluster = read("launcher/on-premise.yaml")
    assert cluster["provider"]["type"] == "local"
    assert cluster["provider"]["head_ip"] not in cluster["provider"]["worker_ips"]
    assert "ray start --head" in cluster["head_start_ray_commands"][-1]
    assert "--autoscaling-config=~/ray_bootstrap_config.yaml" in cluster["head_start_ray_commands"][-1]
    assert "ray start --address=$RAY_HEAD_IP:6379" in cluster["worker_start_ray_commands"][-1]
