"""A whole run whose engine gets torn weights, on real Ray, vLLM and DeepSpeed."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from pipelines.records.run_directory import RunDirectory
from tests.pipelines.small import output_of, small_run

TEARS = """
import sys
import numpy as np
import ray
from pathlib import Path
from pipelines import system
from pipelines.driver import drive
from pipelines.experiment.loading import load
from pipelines.experiment.schema import Experiment

TORN = {2, 4, 5}
made = system.weight_transport

class Tearing:
    def __init__(self, *parts):
        self.whole, self.pool, self.syncs = made(*parts), parts[2], 0

    def sync(self, version):
        self.whole.sync(version)
        self.syncs += 1
        if self.syncs in TORN:
            weights = ray.get(self.pool._weights())
            torn = {name: np.zeros_like(array) if "mlp" in name else array for name, array in weights.items()}
            ray.get(self.pool.engines[0].update_weights.remote(torn, version))

system.weight_transport = Tearing
if __name__ == "__main__":
    drive(load(Path(sys.argv[1]), ["rollout.probe_gap=0.2"], Experiment))
"""


@pytest.mark.slow
def test_an_engine_with_torn_weights_gets_them_again_and_is_restarted_if_that_does_not_help(tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    log = output_of([sys.executable, "-c", TEARS, small_run(tmp_path)], tmp_path / "log")
    assert log.count("rollout-0 does not compute what the learner does") == 3
    assert log.count("rollout-0 is ended. It gets the current weights") == 1
    steps = [row["metrics"] for row in RunDirectory(run_dir).read_jsonl("metrics.jsonl") if row["stage"] == "grpo"]
    assert len(steps) == 3
    assert all(isinstance(metrics, dict) and metrics["learner/logprob_gap"] < 1e-4 for metrics in steps)
