"""Colours and fonts of the report, for light and dark screens. The page and its figures use the same."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from matplotlib import font_manager

_FONTS = ("Inter", "Helvetica Neue", "Helvetica", "Arial", "Liberation Sans", "DejaVu Sans")


@dataclass(frozen=True)
class Theme:
    """Colours as #rrggbb."""

    name: str
    page: str
    card: str
    ink: str
    muted: str
    faint: str
    """for marks in the background, never for text"""
    line: str
    student: str
    teacher: str
    relay: str
    oracle: str
    teacher_wash: str
    """background of the teacher's tokens"""
    good: str
    bad: str
    kinds: tuple[str, ...]
    """one per kind of problem, reused in order if there are more kinds"""

    @property
    def policies(self) -> Mapping[str, str]:
        return {"student": self.student, "teacher": self.teacher, "relay": self.relay}

    def rc(self) -> dict[str, object]:
        """Return matplotlib settings."""
        installed = set(font_manager.get_font_names())
        return {
            "font.family": next((font for font in _FONTS if font in installed), "sans-serif"),
            "font.size": 9.5,
            "text.parse_math": False,
            "text.color": self.ink,
            "figure.facecolor": self.card,
            "savefig.facecolor": self.card,
            "axes.facecolor": self.card,
            "axes.edgecolor": self.line,
            "axes.labelcolor": self.muted,
            "axes.labelsize": 9.0,
            "axes.titlesize": 10.0,
            "axes.titleweight": "bold",
            "axes.titlecolor": self.ink,
            "axes.titlelocation": "left",
            "axes.titlepad": 9.0,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.spines.left": False,
            "axes.grid": True,
            "axes.grid.axis": "y",
            "axes.axisbelow": True,
            "grid.color": self.line,
            "grid.linewidth": 0.7,
            "xtick.color": self.muted,
            "ytick.color": self.muted,
            "xtick.labelsize": 9.0,
            "ytick.labelsize": 9.0,
            "xtick.major.size": 3.0,
            "ytick.major.size": 0.0,
            "legend.frameon": False,
            "legend.fontsize": 9.0,
            "lines.linewidth": 1.8,
            "lines.solid_capstyle": "round",
        }


LIGHT = Theme(
    name="light",
    page="#f6f5f2",
    card="#ffffff",
    ink="#1f2328",
    muted="#5f6873",
    faint="#a3a9b1",
    line="#e3e2dd",
    student="#3b6fb5",
    teacher="#c8691c",
    relay="#0b7f6b",
    oracle="#a07c00",
    teacher_wash="#fde6cf",
    good="#1a7f4b",
    bad="#b3362e",
    kinds=("#3f6fb0", "#c4513f", "#7d57a8", "#2f8f7a", "#b07d12", "#c2588f", "#5d7a2e", "#4a4f57"),
)
DARK = Theme(
    name="dark",
    page="#14171b",
    card="#1b1f25",
    ink="#e7e9ec",
    muted="#a0a8b3",
    faint="#6d7682",
    line="#323841",
    student="#7fb0f0",
    teacher="#f0a35e",
    relay="#4fc9ae",
    oracle="#e2c044",
    teacher_wash="#4d331b",
    good="#5bc98c",
    bad="#f0857b",
    kinds=("#7fb0f0", "#f08a78", "#bd9be6", "#5fcdb3", "#e0b65a", "#ef96c4", "#a9c870", "#b4bac3"),
)
