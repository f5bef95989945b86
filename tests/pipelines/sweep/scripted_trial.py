"""Stands in for `relayllm run` in tests of sweeps: does in a trial's run directory what a script says for its seed.

Arguments: the script, a JSON file of {seed: [step, ...]}; then those of a run. A step is ["evaluate", name, GRPO step, accuracy,
call ratio], ["say", text], ["exit", status], or ["wait"], until a signal.
Every start is a line of starts.txt beside the script.
"""

import json
import signal
import sys
import time
from pathlib import Path

script, program, *overrides = sys.argv[1:]
values = dict(override.split("=", 1) for override in overrides)
run_dir = Path(values["run_dir"])
with Path(script).with_name("starts.txt").open("a") as starts:
    starts.write(json.dumps(values) + "\n")
signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))


def evaluate(name: str, step: int, accuracy: float, call_ratio: float) -> None:
    shares = dict.fromkeys(("solved_share", "calls_per_sample", "with_call_share"), 0.5)
    shares |= dict.fromkeys(("failed_call_share", "cut_off_share"), 0.0)
    for kind in ("known", "teacher_known", "all"):
        row = {
            "name": name, "step": step, "policy": "relay", "kind": kind, "problems": 2, "samples": 2,
            "accuracy": accuracy, "accuracy_ci95": [0.0, 1.0], "call_ratio": call_ratio, "requested_mean": None,
            "output_tokens_mean": 10.0, "oracle_call_ratio": None, "oracle_accuracy": None, **shares,
        }  # fmt: skip
        with (run_dir / "evaluations.jsonl").open("a") as rows:
            rows.write(json.dumps(row) + "\n")


for what, *how in json.loads(Path(script).read_text())[values["seed"]]:
    match what:
        case "evaluate":
            evaluate(*how)
        case "say":
            print(*how, flush=True)
        case "exit":
            sys.exit(how[0])
        case "wait":
            while True:  # signal.pause() misses a signal that comes just before it
                time.sleep(0.05)
