"""A run on a cluster that loses a node, on real Ray, vLLM and DeepSpeed. The nodes are Ray's, all on this machine."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipelines.records.run_directory import RunDirectory
from tests.pipelines.small import SMALL_RUN

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def cluster() -> Iterator[Any]:
    """A cluster that has room for four of the run's five actors on its head, and for one on another node."""
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 4, "include_dashboard": False})
    yield cluster
    cluster.shutdown()


def started(cluster: Any, folder: Path, *overrides: str) -> subprocess.Popen[str]:
    file = folder / "small.yaml"
    file.write_text(
        SMALL_RUN.format(demo=REPOSITORY / "experiments" / "demo.yaml", run_dir=folder / "run", cache=folder / "models")
    )
    command = [sys.executable, "-m", "pipelines", "run", str(file), f"cluster.address={cluster.address}"]
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("RAY_", "WANDB_", "VLLM_"))}
    return subprocess.Popen(
        [*command, "rollout.workers=2", "grpo.checkpoint_every=1", *overrides],
        cwd=REPOSITORY,
        env=environment | {"PYTHONPATH": str(REPOSITORY)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def steps_of(folder: Path) -> list[int]:
    rows = RunDirectory(folder / "run").read_jsonl("metrics.jsonl")
    return [int(str(row["step"])) for row in rows if row["stage"] == "grpo"]


def wait_for_steps(run: subprocess.Popen[str], folder: Path, steps: int) -> None:
    while len(steps_of(folder)) < steps and run.poll() is None:
        time.sleep(0.1)


def test_the_actor_of_a_node_that_is_gone_goes_on_on_another(cluster: Any, tmp_path: Path) -> None:
    node = cluster.add_node(num_cpus=1)
    run = started(cluster, tmp_path, "grpo.steps=8", "grpo.evaluate_every=8")
    wait_for_steps(run, tmp_path, 2)
    cluster.remove_node(node, allow_graceful=False)
    cluster.add_node(num_cpus=1)
    said, _ = run.communicate(timeout=400)
    assert run.returncode == 0, said[-6000:]
    assert sorted(set(steps_of(tmp_path))) == list(range(1, 9))
    assert re.search(r"died and is restarted.* node", said), said


def test_a_rollout_worker_that_finds_no_place_any_more_is_given_up_and_the_other_goes_on(
    cluster: Any, tmp_path: Path
) -> None:
    node = cluster.add_node(num_cpus=1)
    run = started(cluster, tmp_path, "grpo.steps=90", "grpo.evaluate_every=90", "cluster.start_timeout_s=40")
    wait_for_steps(run, tmp_path, 2)
    cluster.remove_node(node, allow_graceful=False)
    said, _ = run.communicate(timeout=400)
    assert run.returncode == 0, said[-6000:]
    assert re.search(
        r"rollout-\d is lost; others of its role may go on without it: it was not back after 40 s", said
    ), said
    assert set(steps_of(tmp_path)) == set(range(1, 91))
