"""Which of the driver's variables its actors get, and that secrets are in none of Ray's files."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from cluster.driver_environment import NAMES, SET_FOR_ACTORS, passed_on

REPOSITORY = Path(__file__).parents[2]


def test_hub_proxy_and_certificate_variables_are_passed_on_and_no_others() -> None:
    environ = {
        "HF_TOKEN": "secret",
        "HF_ENDPOINT": "https://mirror.example.org",
        "https_proxy": "http://user:secret@proxy.example.org",
        "SSL_CERT_FILE": "/etc/own.pem",
        "HF_HUB_DISABLE_TELEMETRY": "0",
        "WANDB_API_KEY": "secret",
        **dict.fromkeys(("PATH", "HOME"), "/bin"),
    }
    assert passed_on(environ, Path("/work")).keys() == {"HF_TOKEN", "HF_ENDPOINT", "https_proxy", "SSL_CERT_FILE"}
    more = passed_on(environ | {"TEACHER_KEY": "secret"}, Path("/work"), {"TEACHER_KEY", "OTHER_KEY"})
    assert more.keys() - passed_on(environ, Path("/work")).keys() == {"TEACHER_KEY"}


def test_relative_paths_are_the_drivers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    environ = {"HF_HOME": "cache/hf", "HF_HUB_CACHE": "~/hub", "SSL_CERT_FILE": "/etc/own.pem", "HF_DATASETS_CACHE": ""}
    assert passed_on(environ, Path("/work")) == {
        "HF_HOME": "/work/cache/hf",
        "HF_HUB_CACHE": "/home/me/hub",
        "SSL_CERT_FILE": "/etc/own.pem",
        "HF_DATASETS_CACHE": "",
    }


def test_every_name_of_the_list_is_documented() -> None:
    text = (REPOSITORY / "docs" / "configuration.md").read_text()
    missing = [name for name in (*NAMES, *SET_FOR_ACTORS) if name.isupper() and f"`{name}`" not in text]
    assert not missing


JOINS = """
import json, os, sys
from cluster.session import ray_session
with ray_session("environment-test", sys.argv[1], 0, 0):
    import ray
    @ray.remote(num_cpus=0, runtime_env={"env_vars": {"OMP_NUM_THREADS": "1"}})
    def seen(names):
        return [os.environ.get(name) for name in names]
    print(json.dumps(ray.get(seen.remote(["HF_TOKEN", "HF_HOME", "https_proxy", "OMP_NUM_THREADS"]))))
"""


def test_actors_of_a_cluster_that_runs_already_take_the_drivers_values_and_ray_writes_no_secret(
    ray_cluster: None, tmp_path: Path
) -> None:
    import ray

    assert "HF_TOKEN" not in os.environ, "the cluster has a token of its own, so this test would show nothing"
    secrets = {"HF_TOKEN": "a-secret-of-this-test", "https_proxy": "http://user:another-secret@proxy.invalid:1"}
    found = subprocess.run(
        [sys.executable, "-c", JOINS, ray.get_runtime_context().gcs_address],
        cwd=REPOSITORY,
        env={**os.environ, **secrets, "HF_HOME": "cache/hf"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert found.returncode == 0, found.stderr[-3000:]
    values = json.loads(found.stdout.splitlines()[-1])
    assert values == [secrets["HF_TOKEN"], str(REPOSITORY / "cache/hf"), secrets["https_proxy"], "1"]
    session = Path(ray._private.worker.global_worker.node.get_session_dir_path())  # type: ignore[attr-defined]
    written = [path for path in session.glob("logs/**/*") if path.is_file() and b"secret" in path.read_bytes()]
    assert not written
