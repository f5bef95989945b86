"""A whole run with engines and learner in turn, on real Ray, vLLM and DeepSpeed; on CPUs, where only the memory stays where it is."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from pipelines.records.run_directory import RunDirectory
from tests.pipelines.small import output_of, small_run

DRIVE = """
import sys
from pathlib import Path
from pipelines.experiment.loading import load
from pipelines.driver import drive
from pipelines.experiment.schema import Experiment

if __name__ == "__main__":
    experiment = load(Path(sys.argv[1]), [], Experiment)
    # Loaded from a file it would be refused on CPUs.
    drive(experiment.model_copy(update={"cluster": experiment.cluster.model_copy(update={"colocate": True})}))
"""


@pytest.mark.slow
def test_engines_write_every_step_with_what_the_learner_learned_while_they_slept(tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    output_of([sys.executable, "-c", DRIVE, small_run(tmp_path)], tmp_path / "log")
    steps = [row["metrics"] for row in RunDirectory(run_dir).read_jsonl("metrics.jsonl") if row["stage"] == "grpo"]
    assert len(steps) == 3
    for metrics in steps:
        assert isinstance(metrics, dict)
        assert metrics["time/sleep_s"] > 0
        assert metrics["learner/logprob_gap"] < 1e-4
    assert steps[-1]["learner/kl"] > 1e-3  # type: ignore[index]
    names = {row["name"] for row in RunDirectory(run_dir).read_jsonl("evaluations.jsonl")}
    assert names == {"grpo-0002", "final"}
