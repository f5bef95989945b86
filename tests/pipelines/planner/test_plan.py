"""Whole plans: splits use all GPUs and fit, and what is wrong is one line."""

import json
from pathlib import Path

import pytest

from pipelines.__main__ import main
from pipelines.experiment.loading import load
from pipelines.experiment.schema import Experiment
from pipelines.planner.plan import planned

EXPERIMENTS = Path(__file__).parents[3] / "experiments"
GPU = EXPERIMENTS / "gpu.yaml"
SMALL = ["grpo.prompts_per_step=16", "grpo.limits.max_new_tokens=1024"]


def test_a_split_uses_all_gpus_and_more_of_them_are_not_slower() -> None:
    experiment = load(GPU, SMALL, Experiment)
    few, many = planned(experiment, 8, "h200", None), planned(experiment, 32, "h200", None)
    assert [sum(role.gpus for role in plan.roles) for plan in (few, many)] == [8, 32]
    assert many.predicted.step_s <= few.predicted.step_s
    assert all(role.memory_gb is not None and role.memory_gb < 141 for role in few.roles)


SHARED = ["teacher.engine.gpu_memory_utilization=0.5", "rollout.engine.gpu_memory_utilization=0.3", "learner.ranks=1"]


@pytest.mark.parametrize(
    ("file", "written"),
    [
        (GPU, []),
        (
            GPU,
            [
                "cluster={colocate: true, gpus: {rollout: 0.5, learner: 0.5}}",
                "rollout={workers: 4, engine: {gpu_memory_utilization: 0.5}}",
            ],
        ),
        (GPU, ["cluster.gpus={teacher: 0.6, rollout: 0.4, learner: 0.5}", *SHARED]),
        (EXPERIMENTS / "demo.yaml", ["grpo.limits.max_new_tokens=64"]),
    ],
)
def test_the_proposed_overrides_load(file: Path, written: list[str]) -> None:
    plan = planned(load(file, [*SMALL, *written], Experiment), 16, "h100", None)
    experiment = load(file, [*SMALL, *written, *plan.keys], Experiment)
    assert experiment.rollout.workers == plan.layout.workers
    assert sum(bundle.gpus for bundle in experiment.bundles()) == 16


def test_the_command_says_where_its_numbers_come_from(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", str(GPU), *SMALL, "--gpus", "8", "--gpu", "a100"]) == 0
    shown = capsys.readouterr().out
    assert (
        "rates: data sheet of a100" in shown and "answers: assumed" in shown and "to use it: rollout.workers=" in shown
    )
    assert main(["plan", str(GPU), *SMALL, "--gpus", "8", "--gpu", "a100", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["bottleneck"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([str(GPU), "--gpus", "8"], "belong together"),
        ([str(GPU)], "give --gpus and --gpu"),
        ([str(GPU), "models.student.path=Org/New", "--gpus", "8", "--gpu", "h100"], "models.student.path = 'Org/New'"),
        (
            [str(GPU), "models.teacher.path=Qwen/Qwen3-14B", "--gpus", "3", "--gpu", "h100", "grpo.enabled=false"],
            "grpo.enabled",
        ),
    ],
)
def test_what_cannot_be_planned_is_one_line_and_status_2(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["plan", *arguments]) == 2
    captured = capsys.readouterr()
    assert message in captured.err and captured.err.count("\n") == 1
