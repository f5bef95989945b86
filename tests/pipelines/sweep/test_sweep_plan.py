"""A sweep file is checked as a whole, with every value in it, before anything starts."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipelines.__main__ import main
from pipelines.experiment.loading import ConfigError
from pipelines.experiment.stage_keys import shared_folders
from pipelines.records.objective import OBJECTIVE
from pipelines.sweep.plan import grid_values, load_sweep
from pipelines.sweep.settings import METRIC, EarlyTerminateSettings, ParameterSettings, SweepSettings

ROOT = Path(__file__).parents[3]
SHIPPED = sorted((ROOT / "experiments" / "sweeps").glob("*.yaml"))


def problems(path: Path) -> str:
    with pytest.raises(ConfigError) as error:
        load_sweep(path)
    return str(error.value)


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_sweeps_are_valid_from_the_repositorys_folder(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    sweep = load_sweep(path.relative_to(ROOT))
    assert sweep.trials > 1 and sweep.searched
    assert sweep.settings.command  # so that an agent of W&B can run it, too


def test_the_metric_is_the_one_that_runs_log() -> None:
    assert f"evaluate/{OBJECTIVE}" == METRIC


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"parameters": {"grpo.los.kl_coefficient": {"values": [0.1, 0.2]}}}, "parameters.grpo.los"),
        ({"parameters": {"grpo.group_size": {"values": [4, 1]}}}, "parameters.grpo.group_size = 1"),
        ({"parameters": {"grpo.group_size": {"min": 1, "max": 8}}}, "parameters.grpo.group_size = 1"),
        ({"parameters": {"run_dir": {"values": ["a", "b"]}}}, "parameters.run_dir: is set by the sweep"),
        ({"parameters": {"seed": {"value": 1}}}, "parameters: at least one should have values"),
        ({"parameters": {"seed": {"min": 3, "max": 3}}}, "min (3) should be below max (3)"),
        ({"parameters": {"seed": {"values": [1], "min": 3}}}, "give value, or values, or min and max"),
        ({"parameters": {"seed": {"values": [1, 2], "distribution": "uniform"}}}, "does not fit"),
        ({"parameters": {"reward.missed_call": {"min": -1.0, "max": 0.0}}}, "a grid needs values"),
        ({"method": "random"}, "run_cap: random never ends by itself"),
        ({"method": "baies"}, "method"),
        ({"metric": {"name": "loss", "goal": "minimize"}}, METRIC),
        ({"program": "nowhere.yaml"}, "program = 'nowhere.yaml': there is no such file in"),
        ({"command": ["python", "x.py", "${args}"]}, "command = 'python x.py ${args}': should be [${env}, python"),
        ({"early_terminate": {"type": "hyperband", "min_iter": 4}}, "no trial would end early"),
        ({"early_terminate": {"type": "hyperband", "min_iter": 1, "max_iter": 9}}, "give min_iter, or max_iter and s"),
        ({"experiment": {"evaluation": {"final": ["student"]}}}, "should have relay in it"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_file_is_named(write_sweep, changes: dict[str, Any], message: str) -> None:
    assert message in problems(write_sweep(**changes))


def test_a_number_that_wandb_reads_as_text_is_refused(write_sweep) -> None:
    path = write_sweep()
    path.write_text(path.read_text().replace("- 3", "- 3e2"))
    assert "parameters.seed.values.2: W&B reads it as '3e2'" in problems(path)


def test_all_values_that_the_schema_refuses_are_named_at_once(write_sweep) -> None:
    parameters = {"grpo.group_size": {"values": [4, 1, 0]}, "grpo.loss.kl_coefficient": {"values": [0.1, -1.0]}}
    found = problems(write_sweep(parameters=parameters))
    assert all(f"grpo.group_size = {value}" in found for value in (1, 0)) and "kl_coefficient = -1.0" in found


def test_a_mistake_is_one_line_and_status_2_before_anything_is_written(write_sweep, capsys) -> None:
    path = write_sweep(parameters={"grpo.group_size": {"values": [4, 1]}})
    assert main(["sweep", str(path)]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert not Path("runs").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--dry-run", "--report-only"], "exclude each other"),
        (["seed=1"], "seed=1: belongs to --trial"),
        (["--trial", "seed=1"], "WANDB_RUN_ID: is not set"),
    ],
)
def test_wrong_options_are_status_2(write_sweep, arguments, message, capsys, monkeypatch) -> None:
    monkeypatch.delenv("WANDB_RUN_ID", raising=False)
    assert main(["sweep", str(write_sweep()), *arguments]) == 2
    assert message in capsys.readouterr().err


def test_a_dry_run_says_what_trials_share_and_writes_nothing(write_sweep, capsys) -> None:
    path = write_sweep(parameters={"reward.independence_bonus": {"values": [1.0, 1.5]}})
    assert main(["sweep", str(path), "--dry-run"]) == 0
    printed = capsys.readouterr().out
    (shared,) = (line for line in printed.splitlines() if line.startswith("stages that all trials share"))
    (own,) = (line for line in printed.splitlines() if line.startswith("stages of each trial"))
    assert "filter" in shared and "warmup" in shared and "evaluate-warmup-relay" in shared
    assert "grpo" in own and "evaluate-final-relay" in own and "warmup" not in own
    assert not Path("runs").exists()


def test_trials_never_share_a_directory_or_name_but_stages_of_equal_keys(write_sweep) -> None:
    sweep = load_sweep(write_sweep(parameters={"reward.independence_bonus": {"values": [1.0, 1.5]}}))
    first, second = (
        sweep.trial(sweep.arguments({"reward.independence_bonus": value}), str(number), Path(f"/r/{number}")).experiment
        for number, value in enumerate((1.0, 1.5))
    )
    assert first.directory != second.directory and first.namespace != second.namespace
    assert first.tracking.group == second.tracking.group == "small"
    assert shared_folders(first)["warmup"] == shared_folders(second)["warmup"]
    assert shared_folders(first)["grpo"] != shared_folders(second)["grpo"]


@pytest.mark.parametrize(
    ("written", "values"),
    [
        ("{min: 1, max: 3}", (1, 2, 3)),
        ("{min: 0.0, max: 0.3, q: 0.1, distribution: q_uniform}", (0.0, 0.1, 0.2, 0.3)),
        ("{values: [a, true]}", ("a", True)),
        ("{value: 0.5}", (0.5,)),
    ],
)
def test_a_grid_counts_out_its_values(written: str, values: tuple[object, ...]) -> None:
    assert grid_values(ParameterSettings.model_validate(yaml.safe_load(written))) == values


def test_the_sweep_in_the_docs_is_valid_and_every_key_of_one_is_explained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = (ROOT / "docs" / "sweeps.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"<!-- checked: loads as a sweep -->\n```yaml\n(.*?)```", page, re.DOTALL)
    (tmp_path / "search.yaml").write_text(example, encoding="utf-8")
    (tmp_path / "experiments").symlink_to(ROOT / "experiments")
    monkeypatch.chdir(tmp_path)
    assert load_sweep(Path("search.yaml")).trials == 12
    keys = [*SweepSettings.model_fields, *EarlyTerminateSettings.model_fields, *ParameterSettings.model_fields]
    assert [name for name in keys if f"`{name}`" not in page] == []
