"""Two real trials on two cores, at the same time: what both need is done once, and a second call starts nothing."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.pipelines.sweep.tiny import ROOT, environment, write_tiny


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_two_trials_run_at_a_time_and_share_what_both_need(tmp_path: Path) -> None:
    file = write_tiny(tmp_path)

    def sweep() -> str:
        done = subprocess.run(
            [sys.executable, "-m", "pipelines", "sweep", file.name, "--at-a-time", "2"],
            cwd=tmp_path,
            env=environment() | {"WANDB_MODE": "disabled", "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=1500,
            check=False,
        )
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-6000:]
        return done.stdout

    assert "2 trials, 2 at a time" in sweep()
    directory = tmp_path / "runs" / "sweeps" / "tiny"
    runs = [directory / "trials" / number for number in ("0", "1")]
    for stage, folders in (("filter", 1), ("warmup", 1), ("grpo", 2), ("evaluate-final-relay", 2)):
        assert len({(run / "stages" / stage).resolve() for run in runs}) == folders
    table = json.loads((directory / "trials.json").read_text())
    assert [row["state"] for row in table["trials"]] == ["finished", "finished"]
    assert {row["values"]["reward.independence_bonus"] for row in table["trials"]} == {1.0, 1.5}
    for run, row in zip(runs, table["trials"], strict=True):
        logged = [json.loads(line)["metrics"] for line in (run / "metrics.jsonl").read_text().splitlines()]
        values = [one["relay/accuracy_within_budget"] for one in logged if "relay/accuracy_within_budget" in one]
        assert len(values) == 2  # after the first GRPO step, and the final one
        assert values[-1] == pytest.approx(row["accuracy_within_budget"], abs=1e-6)
    assert (directory / "report.html").stat().st_size > 0

    logs = {run: (run / "output.log").stat().st_mtime_ns for run in runs}
    sweep()
    assert {run: (run / "output.log").stat().st_mtime_ns for run in runs} == logs
