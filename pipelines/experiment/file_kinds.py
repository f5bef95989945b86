"""Tells an experiment, a study, a sweep and a server's file apart, so that a command given another kind names the right one."""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass
from pathlib import Path

import click
import yaml

from pipelines.experiment import yaml_values


@dataclass(frozen=True, slots=True)
class FileKind:
    """What a YAML file is for. A file is of this kind if it has all keys of one of the sets."""

    title: str
    command: str
    keys: tuple[Set[str], ...]

    def known_by(self, found: Set[str]) -> str | None:
        """Return the key that tells a file with the keys `found` to be of this kind; None if it is not."""
        return next((min(keys) for keys in self.keys if keys <= found), None)


STUDY = FileKind("a study", "study", ({"runs"},))
SWEEP = FileKind("a sweep", "sweep", ({"parameters", "program"},))
SERVER = FileKind("a server's file", "serve", ({"student"},))
EXPERIMENT = FileKind("an experiment", "run", ({"models"}, {"data"}, {"grpo"}))


def require_kind(file: Path, wanted: FileKind) -> None:
    """Raise `click.UsageError` if a file is of another kind. What is of no kind, or unreadable, is left to its loading."""
    try:
        data = yaml_values.read(file.read_bytes())
    except (OSError, ValueError, yaml.YAMLError):
        return
    keys = {key for key in data if isinstance(key, str)} if isinstance(data, dict) else set()
    if wanted.known_by(keys):
        return
    for kind in (STUDY, SWEEP, SERVER, EXPERIMENT):
        if key := kind.known_by(keys):
            raise click.UsageError(f"{file} is {kind.title}, since it has {key}: relayllm {kind.command} {file}")
