"""What a study would do, as text for a dry run."""

from __future__ import annotations

import textwrap
from collections.abc import Collection
from pathlib import Path

from cluster.placement import table
from pipelines.experiment.stage_keys import shared_folders
from pipelines.records.run_directory import DONE
from pipelines.study.finished import is_finished
from pipelines.study.plan import Study, StudyRun


def described(study: Study) -> str:
    """Return as text every run with its resources, its unfinished stages, and the systems that are read from it."""
    lines = [f"study {study.settings.name}: {len(study.runs)} runs, one after the other, in {study.directory}"]
    earlier: set[Path] = set()
    for number, (name, run) in enumerate(study.runs.items(), start=1):
        done = ", finished earlier" if is_finished(study, name) else ""
        systems = [f"{system} ({place})" for system, place in study.systems.items() if place.run == name]
        lines += [
            "",
            f"[{number}/{len(study.runs)}] {name}: {run.file}{done}",
            f"  resources ({run.experiment.cluster.device.value}), as Ray reserves them",
            textwrap.indent(table(run.experiment.bundles()), "  "),
            f"  stages: {stages_left(run, earlier)}",
            f"  systems: {', '.join(systems) or 'none'}",
        ]
        earlier |= set(shared_folders(run.experiment).values())
    return "\n".join(lines)


def stages_left(run: StudyRun, earlier: Collection[Path] = ()) -> str:
    """Return as text how many stages are left, done already, and shared. `earlier` are folders of earlier runs' stages."""
    folders = set(shared_folders(run.experiment).values())
    done = {folder for folder in folders if (folder / DONE).exists()}
    by_others = (folders - done) & set(earlier)
    parts = [f"{len(folders - done - by_others)} of {len(folders)} to do"]
    parts += [f"{len(done)} done already"] if done else []
    parts += [f"{len(by_others)} shared with earlier runs"] if by_others else []
    return ", ".join(parts)
