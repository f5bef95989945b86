"""Names of kinds of problems in reports."""

from __future__ import annotations

from collections.abc import Mapping

KIND_LABELS: Mapping[str, str] = {
    "known": "known to both",
    "teacher_known": "teacher only",
    "guessable": "student by chance",
    "unknowable": "unknowable",
    "all": "all problems",
}


def kind_label(kind: str) -> str:
    """Return the name of a kind for readers."""
    return KIND_LABELS.get(kind, kind)


def breakable(name: str) -> str:
    """Return the name of a kind or system with places where a narrow column may break the line."""
    return name.replace("/", "/\u200b").replace("_", "_\u200b")
