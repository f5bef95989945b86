"""Numbers that nobody can mean are refused before they are counted up to, with their key and their bound."""

from pathlib import Path

import pytest

from pipelines.__main__ import main
from pipelines.experiment.errors import below, schema_paths
from pipelines.experiment.loading import ConfigError, load
from pipelines.experiment.schema import Experiment
from tests.pipelines.small import SMALL


def numeric_keys(kind: type[int] | type[float]) -> list[str]:
    found = []
    for path in schema_paths(Experiment):
        options: list[object] = [Experiment]
        for name in path:
            options = below(options, name)
        if kind in options and "*" not in path:
            found.append(".".join(path))
    return found


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "small.yaml"
    file.write_text(SMALL)
    return file


def problems(file: Path, *overrides: str) -> str:
    with pytest.raises(ConfigError) as refused:
        load(file, overrides, Experiment)
    return str(refused.value)


@pytest.mark.parametrize("key", numeric_keys(int))
def test_no_whole_number_is_without_an_upper_bound(file: Path, key: str) -> None:
    assert key.rpartition(".")[2] in problems(file, f"{key}=1000000000000000000")


@pytest.mark.parametrize("key", numeric_keys(float))
def test_no_number_is_so_large_that_arithmetic_overflows(file: Path, key: str) -> None:
    assert key.rpartition(".")[2] in problems(file, f"{key}=1e308")


@pytest.mark.parametrize(
    ("override", "bound"),
    [
        ("rollout.workers=1000000", "rollout.workers = 1000000: should be less than or equal to 4096"),
        ("rollout.workers=99999999999999", "rollout.workers = 99999999999999: should be less than or equal to 4096"),
        ("learner.ranks=4097", "learner.ranks = 4097: should be less than or equal to 4096"),
        ("teacher.replicas=4097", "teacher.replicas = 4097: should be less than or equal to 4096"),
        ("data.evaluation.0.samples=10001", "samples = 10001: should be less than or equal to 10000"),
        ("data.train.counts.known=1e18", "data.train.counts.known = 1e+18: should be less than or equal to 1000000"),
        ("data.train.lengths=[1001]", "data.train.lengths.0 = 1001: should be less than or equal to 1000"),
        ("grading.timeout_s=1e7", "grading.timeout_s = 10000000.0: should be less than or equal to 1000000"),
        ("warmup.exponents=[0, 10]", "exponents should be [first, last] with 0 <= first <= last <= 9, not [0, 10]"),
        (
            "learner.max_non_finite_steps=1e13",
            "max_non_finite_steps = 10000000000000.0: should be between -1e+12 and 1e+12",
        ),
        ("grpo.optimizer.lr=1e300", "grpo.optimizer.lr = 1e+300: should be between -1e+30 and 1e+30"),
        ("reward.missed_call=-1e300", "reward.missed_call = -1e+300: should be greater than or equal to -1000000"),
    ],
)
def test_the_message_names_the_key_the_value_and_the_bound(file: Path, override: str, bound: str) -> None:
    assert problems(file, override).endswith(bound)


def test_many_long_problems_are_refused_together(file: Path) -> None:
    found = problems(file, "data.train.counts={known: 20000, unknowable: 20000}", "data.train.lengths=[2, 1000]")
    assert "counts (40000 problems) should together be at most 10000 with lengths up to 1000" in found


def test_steps_with_too_many_evaluations_name_the_interval_that_is_right(file: Path) -> None:
    found = problems(file, "grpo.steps=1000000", "grpo.evaluate_every=1")
    assert "evaluate_every (1) should be at least 100 with steps (1000000)" in found
    load(file, ["grpo.steps=1000000", "grpo.evaluate_every=100"], Experiment)


def test_epochs_that_turn_out_as_too_many_steps_are_refused(file: Path) -> None:
    epochs = load(file, ["grpo.epochs=100000", "grpo.prompts_per_step=4"], Experiment)
    assert epochs.with_steps_for(10).grpo.steps == 250_000
    with pytest.raises(ConfigError, match=r"grpo.epochs \(100000\) should be at most 90909 with 11 .*: 275000 steps"):
        epochs.with_steps_for(11)


def test_the_largest_run_is_described_at_once(
    file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(file.parent)
    (file.parent / "evaluation.jsonl").write_text('{"question": "1+1", "answer": "2"}\n')
    most = ["rollout.workers=4096", "teacher.replicas=4096", "learner.ranks=4096", "data.train.counts.known=1000000"]
    assert main(["run", str(file), *most, "--dry-run"]) == 0
    assert "rollout-4095" in capsys.readouterr().out
