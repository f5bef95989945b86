"""The checkpoints of GRPO: the learner's state, the student, and the place in the problems."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

from cluster.checksums import damage, seal
from cluster.files import directory_commit, prune
from pipelines.experiment.stage_names import GRPO
from pipelines.records.run_directory import RunDirectory, RunDirectoryError
from pipelines.rollout.group_supply import Cursor
from pipelines.run import MODEL, Run
from pipelines.stages.alarm_policy import cursor_after, roll_backs
from pipelines.stages.export import export_student

logger = logging.getLogger(__name__)

_LEARNER_STATE, _CURSOR = "learner", "problems.json"


def load_learner(run: Run, steps: int) -> tuple[int, Cursor]:
    """Load the learner for `steps` steps, from the newest checkpoint if there is one, and give its weights to the rollout workers.

    Return the steps done before, and where to go on. Raises `RunDirectoryError` if there are checkpoints and none is whole.
    """
    settings = run.experiment.grpo
    _remove_overtaken(run.directory)
    checkpoint = _newest_whole(run)
    step = 0 if checkpoint is None else int(checkpoint.name)
    cursor = Cursor(0)
    warm = run.warm_student
    with run.actors().learning():
        run.actors().learner.load(
            warm,
            settings.optimizer,
            total_steps=steps * settings.mini_batches,
            reference=warm if settings.loss.kl_coefficient else None,
            seed=run.experiment.seed,
        )
        if checkpoint is not None:
            run.actors().learner.load_state(str(checkpoint / _LEARNER_STATE))
            cursor = Cursor.read((checkpoint / _CURSOR).read_bytes())
        cursor = cursor_after(run.directory, cursor)
        run.actors().sync_weights()
    run.tracker.rolled_back(GRPO, step)
    return step, cursor


def save(run: Run, step: int, cursor: Cursor) -> None:
    """Write the checkpoint after `step`, as a whole, and remove the oldest beyond `grpo.keep_checkpoints`."""
    folder = run.directory.checkpoints(GRPO) / f"{step:06d}"
    with directory_commit(folder) as partial:
        run.actors().learner.save_state(str(partial / _LEARNER_STATE))
        (partial / _CURSOR).write_bytes(replace(cursor, roll_backs=len(roll_backs(run.directory))).written())
        export_student(run, partial / MODEL)
        seal(partial)
    prune(run.directory.finished_checkpoints(GRPO), run.experiment.grpo.keep_checkpoints)
    run.directory.saved()


def _remove_overtaken(directory: RunDirectory) -> None:
    """Remove the checkpoints that no longer count because training has gone back since they were written."""
    rows, overtaken = roll_backs(directory), []
    for checkpoint in directory.finished_checkpoints(GRPO):
        try:
            before = Cursor.read((checkpoint / _CURSOR).read_bytes()).roll_backs
        except (OSError, ValueError):  # damaged, which is found out when it is to be used
            continue
        if any(row.to < int(checkpoint.name) for row in rows[before:]):
            overtaken.append(checkpoint)
    prune(overtaken, keep=0)


def _newest_whole(run: Run) -> Path | None:
    """Return the newest checkpoint whose files are as they were written; None if there is none at all.

    Newer ones are set aside with a warning. Raises `RunDirectoryError` if there are checkpoints and none is whole.
    """
    found = run.directory.finished_checkpoints(GRPO)
    for checkpoint in reversed(found):
        if (wrong := damage(checkpoint)) is None:
            return checkpoint
        aside = checkpoint.with_name(f"{checkpoint.name}.damaged-{uuid4().hex[:6]}")
        checkpoint.rename(aside)
        logger.warning("checkpoint %s is damaged and not used: %s. It is kept as %s", checkpoint.name, wrong, aside)
    if found:
        folder = run.directory.checkpoints(GRPO)
        raise RunDirectoryError(
            f"{folder}: no checkpoint is whole. The same command now begins GRPO anew, from the warm-up"
        )
    return None
