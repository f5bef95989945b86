"""Rates of a measured run: with them the simulation of that run takes as long as the run did."""

from pathlib import Path

import pytest

from pipelines.experiment.errors import ConfigError
from pipelines.experiment.loading import load, resolved_yaml
from pipelines.experiment.schema import Experiment
from pipelines.planner.measured import Measured, measured, measured_rates
from pipelines.planner.shapes import assumed
from pipelines.planner.simulation import simulate
from pipelines.planner.split import layout_of
from pipelines.records.run_directory import RunDirectory

DEMO = Path(__file__).parents[3] / "experiments" / "demo.yaml"


@pytest.mark.parametrize(("rollout_s", "learn_s"), [(1.0, 0.2), (0.4, 3.0), (50.0, 7.0)])
@pytest.mark.parametrize("small", [["grpo.prompts_per_step=6"], ["grpo.prompts_per_step=6", "grpo.mini_batches=1"]])
def test_the_run_itself_is_foretold(rollout_s: float, learn_s: float, small: list[str]) -> None:
    experiment = load(DEMO, small, Experiment)
    shapes = assumed(experiment)
    run = Measured(experiment, rollout_s, learn_s, sync_s=0.1, step_s=rollout_s + learn_s + 0.1)
    foretold = simulate(layout_of(experiment), measured_rates(run, shapes), shapes)
    assert foretold.rollout_s == pytest.approx(rollout_s, rel=0.01)
    assert foretold.learn_s == pytest.approx(learn_s, rel=0.01)
    assert foretold.step_s == pytest.approx(run.step_s, rel=0.01)


def test_the_first_steps_of_a_run_do_not_count(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    run.write_text("experiment.yaml", resolved_yaml(load(DEMO, [], Experiment)))
    for step, seconds in enumerate([90.0, 80.0, 1.0, 3.0], start=1):
        times = {f"time/{phase}_s": seconds for phase in ("rollout", "learn", "sync")}
        run.append_jsonl("metrics.jsonl", {"stage": "grpo", "step": step, "metrics": times})
        if step == 2:
            with pytest.raises(ConfigError, match="no GRPO step after the first 2; give a longer run"):
                measured(tmp_path)
    found = measured(tmp_path)
    assert (found.rollout_s, found.learn_s, found.sync_s, found.step_s) == (2.0, 2.0, 2.0, 6.0)
