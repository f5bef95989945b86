"""Writes the exported folder, and overwrites only what it wrote itself."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

from cluster.files import commit_folder, start_folder
from pipelines.experiment import yaml_values
from pipelines.experiment.schema import Experiment
from pipelines.export_card.card import model_card
from pipelines.export_card.finished import ExportError, finished_run
from pipelines.export_card.wording import hub_name
from pipelines.serving.target import settings_of

MARKER = "relayllm_export.json"
"""lists the folder's files with their SHA-256"""
CARD, BY_HAND, SERVER = "README.md", "relay_by_hand.py", "server.yaml"
_VERSION = 1
_TEACHER_IS_LOCAL = "# relayllm serve server.yaml teacher.path=FOLDER, where FOLDER is the folder of the teacher\n"
_BLOCK = 1 << 20


def export(run: Path, to: Path) -> Path:
    """Write the trained student of a run as a Hugging Face folder with a model card, and return the folder.

    The folder is complete or as it was before at any time. Raises `ExportError` if the run has no trained student, or if
    `to` holds anything that an export did not write.
    """
    found = finished_run(run)
    to = to.resolve()
    if found.student == to or found.student.is_relative_to(to) or to.is_relative_to(run.resolve() / "stages"):
        raise ExportError(f"--to {to} should be another folder than one of the run's own")
    _require_own(to)
    partial = start_folder(to)
    for file in sorted(found.student.iterdir()):
        if file.is_file() and not file.name.startswith(".") and file.name not in (CARD, BY_HAND, SERVER, MARKER):
            shutil.copyfile(file, partial / file.name)
    shutil.copyfile(Path(__file__).with_name("by_hand.py"), partial / BY_HAND)
    (partial / SERVER).write_text(server_file(found.experiment), encoding="utf-8")
    (partial / CARD).write_text(model_card(found), encoding="utf-8")
    files = {file.name: _sha256(file) for file in sorted(partial.iterdir())}
    marker = {"version": _VERSION, "run": found.experiment.name, "files": files}
    (partial / MARKER).write_text(json.dumps(marker, indent=2) + "\n", encoding="utf-8")
    commit_folder(to)
    return to


def server_file(experiment: Experiment) -> str:
    """Return a file for `relayllm serve` in the exported folder. Where the teacher is, only its name on the hub can say."""
    teacher = hub_name(experiment.models.teacher)
    comment = "" if teacher or experiment.models.teacher.url else _TEACHER_IS_LOCAL
    return comment + yaml_values.written(settings_of(experiment, ".", teacher or "./teacher"))


def _require_own(folder: Path) -> None:
    """Raise `ExportError` unless the folder is absent, empty, or exactly what an export wrote."""
    if not folder.exists():
        return
    if not folder.is_dir():
        raise ExportError(f"--to {folder} should be a folder, and is a file")
    present = {path.relative_to(folder).as_posix() for path in folder.rglob("*")}
    if not present:
        return
    advice = "choose another folder, or move this one away"
    try:
        files: dict[str, str] = json.loads((folder / MARKER).read_bytes())["files"]
        written = dict(files.items())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise ExportError(
            f"--to {folder} has files that no export wrote ({', '.join(sorted(present)[:3])}): {advice}"
        ) from None
    added = sorted(present - written.keys() - {MARKER})
    if added:
        raise ExportError(f"--to {folder} has files that no export wrote ({', '.join(added[:3])}): {advice}")
    changed = [name for name in sorted(written) if name in present and _sha256(folder / name) != written[name]]
    if changed:
        raise ExportError(
            f"--to {folder} has files that were changed since the export ({', '.join(changed[:3])}): {advice}"
        )


def _sha256(file: Path) -> str:
    digest = hashlib.sha256()
    with file.open("rb") as stream:
        while block := stream.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()
