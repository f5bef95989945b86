"""Does the planner foretell the step of a run with other settings from one measured run?

A shortened run of the demo's experiment is measured, and then runs that differ in one setting. `relayllm plan … --from` foretells
each of them from the first run alone.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path

from benchmarks._whole_runs import DEMO, run_demo
from benchmarks.harness import Goal, Row, arguments, report
from pipelines.experiment.loading import load
from pipelines.experiment.schema import Experiment
from pipelines.planner.measured import measured
from pipelines.planner.plan import planned

STEPS, QUICK_STEPS = 20, 4
CHANGES: Mapping[str, tuple[str, ...]] = {
    "the same run": (),
    "half of the problems": ("grpo.prompts_per_step=12",),
    "twice the problems": ("grpo.prompts_per_step=48",),
    "twice the group": ("grpo.group_size=16",),
    "one mini-batch": ("grpo.mini_batches=1",),
    "room for 48 turns in an engine": ("rollout.engine.max_num_seqs=48", "teacher.engine.max_num_seqs=48"),
    "rollout beside learning": ("grpo.async_depth=1",),
    "two rollout workers": ("rollout.workers=2",),
}
WITHIN = Goal("value", "<=", 20)
"""per cent of the measured step"""
SAME_CORES = {"rollout beside learning", "two rollout workers"}
"""changes that need cores of their own, which the planner assumes and a machine with two cores does not have"""


def main() -> None:
    options = arguments(__doc__).parse_args()
    steps = QUICK_STEPS if options.quick else STEPS
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="planner-") as folder:
        known = Path(folder) / "known"
        run_demo([*_overrides(steps, options.quick, folder), "name=known", f"run_dir={known}"])
        for number, (name, change) in enumerate(CHANGES.items()):
            overrides = [*_overrides(steps, options.quick, folder), f"name=changed-{number}", *change]
            directory = Path(folder) / str(number)
            if change:
                run_demo([*overrides, f"run_dir={directory}"])
            plan = planned(load(DEMO, overrides, Experiment), None, None, known)
            taken = measured(directory if change else known).step_s
            foretold = plan.predicted.step_s
            rows += [
                Row(f"{name}: measured", "s", [taken]),
                Row(f"{name}: foretold", "s", [foretold], [foretold / taken], "measured"),
                Row(
                    f"{name}: error",
                    "%",
                    [100 * abs(foretold / taken - 1)],
                    goal=None if name in SAME_CORES else WITHIN,
                ),
            ]
    notes = [
        f"Means of {steps - 2} steps of one run each.",
        "The planner assumes that every actor has its machine for itself. "
        f"So no goal is set for {' and '.join(sorted(SAME_CORES))}: here they share the cores of all others.",
    ]
    report("planner", rows, options, notes)


def _overrides(steps: int, quick: bool, folder: str) -> list[str]:
    short = [f"models.{model}.pretrain.steps=30" for model in ("student", "teacher")]
    return [
        f"share_dir={folder}/shared",
        f"grpo.steps={steps}",
        "grpo.evaluate_every=1000",
        "grpo.checkpoint_every=1000",
        "filter.enabled=false",
        f"warmup.samples={64 if quick else 2000}",
        "evaluation={base: [], warmup: [], training: [], final: [relay]}",
        "tracking.mode=disabled",
        *(short if quick else ()),
    ]


if __name__ == "__main__":
    main()
