"""A run on a cluster that loses a node or gets one, on real Ray, vLLM and DeepSpeed. The nodes are Ray's, all on this machine."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pipelines.records.run_directory import RunDirectory
from tests.pipelines.small import small_run, start

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture
def cluster() -> Iterator[Any]:
    """A cluster whose head has room for four of the run's five actors."""
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 4, "include_dashboard": False})
    yield cluster
    cluster.shutdown()


@pytest.fixture
def run_on(cluster: Any, tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts a run that takes all five CPUs. It ends with the test."""
    running: list[subprocess.Popen[str]] = []
    command = [sys.executable, "-m", "pipelines", "run", small_run(tmp_path), f"cluster.address={cluster.address}"]
    settings = ["cluster.cpus_per_actor=1", "rollout.workers=2", "grpo.checkpoint_every=1"]
    with (tmp_path / "log").open("w") as output:

        def started(*overrides: str) -> subprocess.Popen[str]:
            running.append(start([*command, *settings, *overrides], output))
            return running[-1]

        yield started
        for run in running:
            if run.poll() is None:
                run.send_signal(signal.SIGINT)
                run.wait(60)


def steps_of(folder: Path) -> list[int]:
    rows = RunDirectory(folder / "run").read_jsonl("metrics.jsonl")
    return [int(str(row["step"])) for row in rows if row["stage"] == "grpo"]


def wait_for_steps(run: subprocess.Popen[str], folder: Path, steps: int) -> None:
    while len(steps_of(folder)) < steps and run.poll() is None:
        time.sleep(0.1)


def test_the_actor_of_a_node_that_is_gone_goes_on_on_another(cluster: Any, run_on: Any, tmp_path: Path) -> None:
    node = cluster.add_node(num_cpus=1)
    run = run_on("grpo.steps=8", "grpo.evaluate_every=8")
    wait_for_steps(run, tmp_path, 2)
    cluster.remove_node(node, allow_graceful=False)
    cluster.add_node(num_cpus=1)
    status, said = run.wait(400), (tmp_path / "log").read_text()
    assert status == 0, said[-6000:]
    assert set(steps_of(tmp_path)) == set(range(1, 9))
    assert re.search(r"rollout-\d died and is restarted", said), said[-6000:]


def test_a_rollout_worker_that_finds_no_place_any_more_is_given_up_and_the_other_goes_on(
    cluster: Any, run_on: Any, tmp_path: Path
) -> None:
    node = cluster.add_node(num_cpus=1)
    run, log = run_on("grpo.steps=1000", "grpo.evaluate_every=1000", "cluster.start_timeout_s=120"), tmp_path / "log"
    wait_for_steps(run, tmp_path, 2)
    cluster.remove_node(node, allow_graceful=False)
    lost = re.compile(r"rollout-\d is lost; others of its role may go on without it: it was not back after 120 s")
    while not lost.search(log.read_text()) and run.poll() is None:
        time.sleep(0.2)
    wait_for_steps(run, tmp_path, len(steps_of(tmp_path)) + 1)
    assert run.poll() is None, log.read_text()[-6000:]


def test_a_rollout_worker_joins_a_run_when_the_cluster_gets_room(cluster: Any, run_on: Any, tmp_path: Path) -> None:
    run, log = run_on("rollout.min_workers=1", "grpo.steps=1000", "grpo.evaluate_every=1000"), tmp_path / "log"
    wait_for_steps(run, tmp_path, 2)
    assert "rollout-1 joins the run" not in log.read_text()
    cluster.add_node(num_cpus=1)
    while "rollout-1 joins the run" not in log.read_text() and run.poll() is None:
        time.sleep(0.2)
    wait_for_steps(run, tmp_path, len(steps_of(tmp_path)) + 2)
    assert run.poll() is None, log.read_text()[-6000:]
    assert "is lost" not in log.read_text()
