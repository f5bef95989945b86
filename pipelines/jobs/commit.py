"""The git commit of the code that a job gets."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Commit:
    """What git says of a folder."""

    name: str
    """its hash; empty if git does not know the folder"""
    changed: bool
    """whether files differ from the commit, or are not in it"""

    def __str__(self) -> str:
        if not self.name:
            return "not in git"
        return f"{self.name[:10]} with changes that are in no commit" if self.changed else self.name[:10]


def commit_of(folder: Path) -> Commit:
    """Return the commit of a folder's repository."""
    try:
        head, status = (_git(folder, *words) for words in (("rev-parse", "HEAD"), ("status", "--porcelain")))
    except (OSError, subprocess.CalledProcessError):
        return Commit("", False)
    return Commit(head, bool(status))


def _git(folder: Path, *words: str) -> str:
    return subprocess.run(["git", *words], cwd=folder, capture_output=True, check=True, text=True).stdout.strip()
