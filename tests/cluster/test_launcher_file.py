"""The cluster launcher's file is what Ray reads, and every cluster asks for a token."""

import importlib.util
import json
from pathlib import Path
from typing import Any

import jsonschema
import yaml

CLUSTER = Path(__file__).parents[2] / "cluster"


def read(name: str) -> Any:
    return yaml.safe_load((CLUSTER / name).read_text(encoding="utf-8"))


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


def test_all_machines_of_the_launcher_have_the_token_and_ask_for_it() -> None:
    cluster = read("launcher/on-premise.yaml")
    assert cluster["file_mounts"] == {"~/.ray/auth_token": "~/.ray/auth_token"}
    starts = [cluster[f"{role}_start_ray_commands"][-1] for role in ("head", "worker")]
    assert all("export RAY_AUTH_MODE=token && ray start " in start for start in starts)
