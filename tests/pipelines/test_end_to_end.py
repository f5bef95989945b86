"""The whole run on real Ray, vLLM and DeepSpeed, small: to its end, killed and resumed, with two ZeRO-3 ranks."""

from __future__ import annotations

import gzip
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from safetensors import safe_open

from pipelines.records.answers import AnswerTable
from pipelines.records.run_directory import RunDirectory
from tests.clusters import RAY, REPOSITORY, Cluster, cluster_of_its_own

SMALL = """
extends: {demo}
name: small
models:
  cache_dir: {cache}
  student: {{pretrain: {{steps: 30}}}}
  teacher: {{pretrain: {{steps: 30, problems_per_step: 16}}}}
data:
  train: {{counts: {{known: 16, teacher_known: 16, unknowable: 4}}}}
  evaluation:
  - {{source: chain_arithmetic, counts: {{known: 6, teacher_known: 6, unknowable: 4}}}}
  - {{source: chain_arithmetic, counts: {{known: 3}}, lengths: [4], kind_prefix: long/, samples: 2, sampling: {{temperature: 0.7}}}}
filter: {{samples: 2, min_pass_rate: 0.0}}
warmup: {{samples: 64, epochs: 2}}
grpo: {{steps: 4, prompts_per_step: 4, group_size: 4, mini_batches: 2, checkpoint_every: 1, evaluate_every: 2}}
evaluation: {{problems_during_training: 8, traces: 5}}
tracking: {{mode: offline}}
"""


@pytest.fixture(scope="session")
def small_experiment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an experiment of a minute, whose base models are cached for the session."""
    folder = tmp_path_factory.mktemp("small-experiment")
    path = folder / "small.yaml"
    path.write_text(SMALL.format(demo=REPOSITORY / "experiments" / "demo.yaml", cache=folder / "models"))
    return path


PLANTED = {
    "WANDB_API_KEY": "planted0123456789planted0123456789planted",
    "HF_TOKEN": "hf_planted-0123456789",
}
"""secrets of the environment, which no file of a run may have"""


def holding(folder: Path, text: bytes) -> Iterator[Path]:
    """Yield the files below a folder that have the text, as it is or packed by gzip."""
    for file in folder.rglob("*"):
        if file.is_file() and not file.is_symlink():
            content = file.read_bytes()
            if text in content or (content[:2] == b"\x1f\x8b" and text in gzip.decompress(content)):
                yield file


def start(
    experiment: Path,
    run_dir: Path,
    overrides: Sequence[str] = (),
    more: Mapping[str, str] | None = None,
    **options: object,
) -> subprocess.Popen[str]:
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("RAY_", "WANDB_", "VLLM_"))}
    environment |= more or {}
    return subprocess.Popen(
        [sys.executable, "-m", "pipelines", "run", str(experiment), f"run_dir={run_dir}", *overrides],
        cwd=REPOSITORY,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        **options,  # type: ignore[call-overload]
    )


def finish(process: subprocess.Popen[str]) -> str:
    output, _ = process.communicate(timeout=800)
    assert process.returncode == 0, output[-6000:]
    return output


def grpo_steps(run_dir: Path) -> list[int]:
    return [row["step"] for row in RunDirectory(run_dir).read_jsonl("metrics.jsonl") if row["stage"] == "grpo"]  # type: ignore[misc]


def kill_after(step: int, process: subprocess.Popen[str], run_dir: Path) -> None:
    """SIGKILL the driver as soon as it has logged a GRPO step."""
    assert process.stdout is not None
    for _ in process.stdout:  # the driver prints its progress, so reading it waits without polling
        if (run_dir / "metrics.jsonl").exists() and step in grpo_steps(run_dir):
            break
    process.send_signal(signal.SIGKILL)
    process.wait(timeout=60)
    process.stdout.close()


@pytest.fixture
def short_folder() -> Iterator[Path]:
    """A folder in which the names of Ray's sockets are not too long."""
    with TemporaryDirectory(dir="/tmp", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


@pytest.mark.timeout(1200)
def test_a_run_ends_with_a_report_and_a_second_call_repeats_nothing(
    small_experiment: Path, tmp_path: Path, short_folder: Path
) -> None:
    run_dir = tmp_path / "run"
    output = finish(start(small_experiment, run_dir, more=PLANTED | {"RAY_TMPDIR": str(short_folder)}))
    assert "planted" not in output
    assert [file for folder in (run_dir, short_folder) for file in holding(folder, b"planted")] == []
    assert len(list(holding(run_dir, b"independence_bonus"))) >= 3, (
        "the report, experiment.yaml and W&B's files are read"
    )
    assert "report.html" in output
    assert grpo_steps(run_dir) == [1, 2, 3, 4]
    evaluations = RunDirectory(run_dir).read_jsonl("evaluations.jsonl")
    seen = {(row["name"], row["policy"]) for row in evaluations}
    assert seen == {
        ("base", "student"), ("base", "teacher"),
        ("warmup", "student"), ("warmup", "relay"),
        ("grpo-0002", "student"), ("grpo-0002", "relay"),
        ("final", "student"), ("final", "relay"),
    }  # fmt: skip
    assert {(row["problems"], row["samples"]) for row in evaluations if row["kind"] == "known"} == {(6, 6), (2, 2)}
    assert {(row["problems"], row["samples"]) for row in evaluations if row["kind"] == "long/known"} == {(3, 6)}
    with safe_open(run_dir / "stages/grpo/model/model.safetensors", "pt") as trained:
        assert "model.embed_tokens.weight" in trained.keys()  # noqa: SIM118
    assert len(RunDirectory(run_dir).read_jsonl("traces.jsonl")) == 6 * 5
    relay = AnswerTable.read(run_dir / "stages/evaluate-final-relay/answers.parquet")
    assert (relay.problems, len(relay)) == (19, 22)
    (row,) = (
        row for row in evaluations if (row["name"], row["policy"], row["kind"]) == ("final", "relay", "long/known")
    )
    assert row["accuracy"] == relay.of_kind("long/known").correct.mean()
    assert row["calls_per_sample"] == relay.of_kind("long/known").calls.mean()
    assert json.loads((run_dir / "stages/evaluate-final-relay/done.json").read_text())["seconds"] > 0
    assert list((run_dir / "wandb").glob("offline-run-*"))
    sets = json.loads((run_dir / "problem_sets.json").read_text())
    assert (sets["train"]["rows"], sets["evaluation"][0]["rows"]) == ([[0, 35]], [[0, 15]])

    before = {path: path.stat().st_mtime_ns for path in run_dir.glob("stages/**/*") if path.is_file()}
    finish(start(small_experiment, run_dir))
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert grpo_steps(run_dir) == [1, 2, 3, 4]


@pytest.mark.slow
@pytest.mark.parametrize("other", [[], ["learner.ranks=2", "learner.zero_stage=3", "learner.dtype=bfloat16"]])
def test_a_killed_run_resumes_from_its_last_checkpoint(
    small_experiment: Path, tmp_path: Path, other: list[str]
) -> None:
    run_dir = tmp_path / "run"
    kill_after(2, start(small_experiment, run_dir, ["grpo.steps=6"]), run_dir)
    (kept,) = [path.name for path in sorted((run_dir / "stages/grpo/checkpoints").iterdir()) if path.name.isdigit()][
        -1:
    ]
    finish(start(small_experiment, run_dir, ["grpo.steps=6", *other]))
    steps = grpo_steps(run_dir)
    resumed = steps[len(steps) - (6 - int(kept)) :]
    assert resumed == list(range(int(kept) + 1, 7))
    assert set(steps) == {1, 2, 3, 4, 5, 6}
    assert json.loads((run_dir / "stages/grpo/done.json").read_text())["steps"] == 6


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_rollout_beside_learning_runs_to_its_end_and_resumes(small_experiment: Path, tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    overlapped = [
        "grpo.steps=6",
        "grpo.async_depth=1",
        "grpo.extra_prompts=2",
        "grpo.loss={tis_cap: 2, kl_coefficient: 0.01}",  # with a KL term every token is trained, whatever its reward
        "tracking.mode=disabled",
    ]
    kill_after(3, start(small_experiment, run_dir, overlapped), run_dir)
    finish(start(small_experiment, run_dir, overlapped))
    rows = RunDirectory(run_dir).read_jsonl("metrics.jsonl")
    steps = {row["step"]: row["metrics"] for row in rows if row["stage"] == "grpo"}
    assert set(steps) == {1, 2, 3, 4, 5, 6}
    stale = [step for step, metrics in steps.items() if metrics["learner/staleness_max"] >= 1]  # type: ignore[index]
    assert 1 not in stale and {2, 6} <= set(stale)
    assert all(metrics["learner/staleness_max"] <= 2 for metrics in steps.values())  # type: ignore[index]
    assert {"time/wait_s", "learner/tis_weight_mean", "rollout/late_groups"} <= steps[2].keys()  # type: ignore[union-attr]
    (last,) = (run_dir / "stages/grpo/checkpoints").glob("000006/problems.json")
    assert json.loads(last.read_text()) == {"next": 24, "carried": []}


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_runs_share_what_does_not_depend_on_their_difference(small_experiment: Path, tmp_path: Path) -> None:
    shared = [f"share_dir={tmp_path / 'shared'}", "grpo.steps=2", "grpo.evaluate_every=1"]
    first, second = tmp_path / "first", tmp_path / "second"
    finish(start(small_experiment, first, shared))
    written = {path: path.stat().st_mtime_ns for path in (tmp_path / "shared").glob("*/*") if path.name != "lock"}
    other = [
        "reward.scheme=simple",
        "evaluation.teacher={pretrain: {steps: 20, problems_per_step: 8}}",
        "evaluation.final=[student, relay, random_placement, teacher]",
    ]
    output = finish(start(small_experiment, second, [*shared, *other]))

    assert {path: path.stat().st_mtime_ns for path in written} == written
    stages = [{link.name: link.resolve().name for link in (run / "stages").iterdir()} for run in (first, second)]
    assert {name for name in stages[0] if stages[0][name] == stages[1][name]} == {
        "filter", "warmup", "evaluate-base-student", "evaluate-base-teacher", "evaluate-warmup-student", "evaluate-warmup-relay",
    }  # fmt: skip
    assert (
        "own samples" not in output and "evaluate base" not in output and "evaluate final: random_placement" in output
    )
    logs = [RunDirectory(run) for run in (first, second)]
    steps = [[(row["stage"], row["step"]) for row in log.read_jsonl("metrics.jsonl")] for log in logs]
    for stage in ("filter", "warmup", "grpo"):
        assert len({tuple(step for step in taken if step[0] == stage) for taken in steps}) == 1
    seen = {(row["name"], row["policy"]) for row in logs[1].read_jsonl("evaluations.jsonl")}
    assert seen == {
        *((name, "student") for name in ("base", "warmup", "grpo-0001", "final")),
        *((name, "relay") for name in ("warmup", "grpo-0001", "final")),
        *((name, "teacher") for name in ("base", "final")),
        ("final", "random_placement"),
    }


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    with cluster_of_its_own(tmp_path) as cluster:
        yield cluster


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_submitted_job_shows_its_named_actors(small_experiment: Path, tmp_path: Path, cluster: Cluster) -> None:
    run_dir = tmp_path / "run"
    job = ["python", "-m", "pipelines", "run", str(small_experiment), f"run_dir={run_dir}", "tracking.mode=disabled"]
    submitted = subprocess.Popen(
        [RAY, "job", "submit", "--address", cluster.dashboard, "--working-dir", str(REPOSITORY), "--", *job],
        env=cluster.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert submitted.stdout is not None
    printed = []
    for line in submitted.stdout:
        printed.append(line)
        if "evaluate base" in line:
            break
    else:
        pytest.fail("".join(printed)[-6000:])
    listed = cluster.run(
        *("ray", "list", "actors", "--address", cluster.dashboard, "--format", "json", "--filter", "state=ALIVE")
    )
    assert listed.returncode == 0, listed.stderr
    names = {actor["name"] for actor in json.loads(listed.stdout)}
    output, _ = submitted.communicate(timeout=400)
    assert submitted.returncode == 0, "".join(printed)[-3000:] + output[-3000:]
    assert names >= {"teacher", "rollout-0", "reward", "learner-0"}
    assert (run_dir / "report.html").exists()


@pytest.mark.slow
def test_an_epoch_is_as_long_as_the_filter_leaves_it(small_experiment: Path, tmp_path: Path) -> None:
    epoch = ["grpo.steps=null", "grpo.epochs=1", "grpo.prompts_per_step=4", "grpo.evaluate_every=3"]
    finish(start(small_experiment, tmp_path / "run", epoch))
    run = RunDirectory(tmp_path / "run")
    steps = int(run.summary("filter")["kept"]) // 4  # type: ignore[call-overload]
    assert grpo_steps(run.path) == list(range(1, steps + 1))
    assert run.summary("grpo")["steps"] == steps > 3
    assert run.stage_done("evaluate-grpo-0003-relay")


@pytest.mark.slow
def test_two_zero_3_ranks_run_through(small_experiment: Path, tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    finish(start(small_experiment, run_dir, ["learner.zero_stage=3", "learner.ranks=2"]))
    assert grpo_steps(run_dir) == [1, 2, 3, 4]


def test_another_experiment_is_refused_before_anything_starts(small_experiment: Path, tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    run_dir.mkdir()
    (run_dir / "experiment.yaml").write_text("name: other\n")
    (run_dir / "metrics.jsonl").touch()
    process = start(small_experiment, run_dir)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 2
    assert "another experiment" in output
    assert "name: other -> small" in output
