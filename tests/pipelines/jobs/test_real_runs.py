"""Real runs as jobs of one real cluster, submitted from this repository: two at the same time, one of them stopped and resumed."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipelines.records.run_directory import RunDirectory
from tests.clusters import PROGRAMS, REPOSITORY, Cluster, cluster_of_its_own

pytestmark = [pytest.mark.slow, pytest.mark.ray, pytest.mark.timeout(1500)]

SHORT = (
    "data.train.counts={known: 16, teacher_known: 16, unknowable: 0}",
    "data.evaluation.0.counts={known: 4}",
    "filter.enabled=false",
    "warmup.samples=32",
    "warmup.copies=1",
    "grpo.prompts_per_step=4",
    "grpo.group_size=4",
    "grpo.checkpoint_every=1",
    "grpo.evaluate_every=1000",
    "evaluation.base=[student]",
    "tracking.mode=disabled",
)


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    with cluster_of_its_own(tmp_path) as cluster:
        yield cluster


def started(cluster: Cluster, *words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [str(PROGRAMS / "relayllm"), *words, "--address", cluster.dashboard],
        cwd=REPOSITORY,
        env=cluster.environment | {"PYTHONPATH": str(REPOSITORY)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def done(process: subprocess.Popen[str], status: int = 0) -> str:
    output, _ = process.communicate(timeout=900)
    assert process.returncode == status, output[-6000:]
    return output


def test_two_runs_of_one_cluster_do_not_touch_each_other(cluster: Cluster, tmp_path: Path) -> None:
    def submit(name: str, steps: int) -> str:
        where = f"run_dir={tmp_path / name}"
        return done(
            started(cluster, "submit", "experiments/demo.yaml", *SHORT, f"name={name}", where, f"grpo.steps={steps}")
        )

    assert "submitted   short as job short-" in submit("short", 3)
    submit("long", 1000)
    short, long = (RunDirectory(tmp_path / name) for name in ("short", "long"))

    # Both have actors called teacher, rollout-0, reward and learner-0, in namespaces of their own.
    log = started(cluster, "logs", "short", "--follow")
    assert "report: " in done(log)
    jobs = {job["run"]: job for job in json.loads(done(started(cluster, "status", "--json")))}
    assert {name: job["state"] for name, job in jobs.items()} == {"short": "succeeded", "long": "running"}
    assert jobs["long"]["started_s"] < jobs["short"]["ended_s"]
    assert [row["step"] for row in short.read_jsonl("metrics.jsonl") if row["stage"] == "grpo"] == [1, 2, 3]
    assert (short.path / "report.html").exists()

    follow = started(cluster, "logs", "long", "--follow")
    assert follow.stdout is not None
    for _ in follow.stdout:  # the run prints its progress, so reading it waits without polling
        if steps_of(long):
            break
    assert "long: stopped\n" in done(started(cluster, "stop", "long"))
    done(follow, status=3)
    kept = steps_of(long)
    assert list((long.path / "stages/grpo/checkpoints").glob("0*/problems.json"))

    resumed = started(cluster, "resume", "long", "--follow")
    assert resumed.stdout is not None
    for _ in resumed.stdout:
        if steps_of(long)[-1] > kept[-1]:
            break
    assert min(steps_of(long)[len(kept) :]) > 1  # it went on, and did not begin again
    done(started(cluster, "stop", "long"))
    done(resumed, status=3)


def steps_of(run: RunDirectory) -> list[int]:
    return [int(row["step"]) for row in run.read_jsonl("metrics.jsonl") if row["stage"] == "grpo"]  # type: ignore[call-overload]
