"""Writes the student to disk: the learner's weights and the base student's tokenizer, for vLLM and transformers."""

from __future__ import annotations

from pathlib import Path

from cluster.files import directory_commit
from pipelines.run import Run


def export_student(run: Run, folder: Path) -> None:
    """Write the learner's model and its tokenizer to `folder`. At any time the folder is either complete or absent."""
    with directory_commit(folder) as partial:
        run.actors().learner.export_into(partial)
        run.prompts.student_tokenizer.save_pretrained(partial)
