"""Stands in for `python -m pipelines run` in tests of the study runner: does to a run what a script says.

Arguments: the script, a JSON file of {"runs": {name: what to do}, "stages": {name: [stage, ...]}}; then those of a run.
"bind" is to claim and bind the directory as the driver does, and finish the stages that are left.
Every start is a line of starts.txt beside the script.
"""

import json
import os
import signal
import sys
import time
from pathlib import Path

script, experiment, *overrides = sys.argv[1:]
run_dir = Path(dict(override.split("=", 1) for override in overrides)["run_dir"])
plan = json.loads(Path(script).read_text())
with Path(script).with_name("starts.txt").open("a") as starts:
    starts.write(f"{run_dir.name} {os.getpid()} {os.environ.get('RAY_ADDRESS')}\n")

match plan["runs"][run_dir.name]:
    case "finish":
        for stage in plan["stages"][run_dir.name]:
            folder = run_dir / "stages" / stage
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "done.json").write_text("{}")
    case "bind":
        sys.path.insert(0, str(Path(__file__).parents[3]))
        from pipelines.experiment.loading import load
        from pipelines.experiment.schema import Experiment
        from pipelines.experiment.stage_keys import stage_keys
        from pipelines.records.binding import bind
        from pipelines.records.run_directory import RunDirectory

        settings = load(Path(experiment), overrides, Experiment)
        with RunDirectory(run_dir) as directory:
            bind(directory, settings)
            directory.append_jsonl(directory.metrics.name, {"stage": "filter", "step": 0})
            for stage in stage_keys(settings):
                if not directory.stage_done(stage):
                    directory.mark_done(stage, {"pid": os.getpid()})
    case "die":
        os.kill(os.getpid(), signal.SIGKILL)
    case "wait" | "wait stubbornly" as how:
        if how == "wait stubbornly":
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        print("waiting", flush=True)
        while True:  # signal.pause() misses a signal that comes just before it
            time.sleep(0.05)
    case status:
        sys.exit(status)
