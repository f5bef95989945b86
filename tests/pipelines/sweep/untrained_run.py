"""Stands in for the `python` that an agent of W&B starts: the real command `sweep --trial`, whose run trains nothing.

The run claims and binds its directory, and tracks two evaluations, as the driver does.
"""

from __future__ import annotations

import sys
from pathlib import Path

from pipelines.__main__ import main
from pipelines.experiment.loading import load
from pipelines.experiment.schema import Experiment
from pipelines.records.binding import bind
from pipelines.records.objective import OBJECTIVE
from pipelines.records.run_directory import RunDirectory
from pipelines.records.tracking import Tracker


def run(program: str, *overrides: str) -> None:
    experiment = load(Path(program), overrides, Experiment)
    config = experiment.model_dump(mode="json")
    with RunDirectory(experiment.directory) as directory:
        bind(directory, experiment)
        with Tracker(directory, experiment.tracking, config) as tracker:
            for step in (10, 40):
                tracker.log("evaluate", step, {OBJECTIVE: experiment.seed / 10 + step / 1000})


if __name__ == "__main__":
    if sys.argv[1] == "run":
        run(*sys.argv[2:])
    else:
        from pipelines.sweep import agent

        agent.RUN = (sys.executable, __file__, "run")
        assert sys.argv[1:3] == ["-m", "pipelines"]
        sys.exit(main(sys.argv[3:]))
