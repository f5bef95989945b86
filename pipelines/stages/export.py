"""The student on disk: weights from the learner beside the base student's tokenizer, for vLLM and transformers."""

from __future__ import annotations

from pathlib import Path

from cluster.files import directory_commit
from pipelines.run import Run


def export_student(run: Run, folder: Path) -> None:
    """Write the learner's model and its tokenizer to `folder`, which is complete or absent at any time."""
    with directory_commit(folder) as partial:
        run.actors().learner.export(str(partial / "weights"))
        for file in (partial / "weights").iterdir():
            file.rename(partial / file.name)
        (partial / "weights").rmdir()
        run.prompts.student_tokenizer.save_pretrained(partial)
