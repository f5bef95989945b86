"""How kinds of problems are called in reports."""

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
    """A kind as a reader would say it."""
    return KIND_LABELS.get(kind, kind)


def breakable(name: str) -> str:
    """A kind or system with places where a narrow column may break it."""
    return name.replace("/", "/\u200b").replace("_", "_\u200b")
