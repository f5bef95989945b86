"""The paper's own numbers (arXiv 2601.05167v1), in percent as printed, to be shown beside those of a run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from pipelines.analysis import systems

Student = Literal["Qwen3-0.6B", "Qwen3-1.7B"]
SMALL: Student = "Qwen3-0.6B"
LARGE: Student = "Qwen3-1.7B"
TEACHER_MODEL = "Qwen3-8B"

EASY = ("Minerva", "MATH-500", "GSM8K", "OlympiadBench")
HARD = ("AIME-2025", "AIME-2024")
UNSEEN = ("BBEH", "MMLU-Pro", "SuperGPQA")
CITER = "citer"
"""the threshold is not given"""


@dataclass(frozen=True, slots=True)
class PaperResult:
    """One row of a table."""

    student: Student | None
    """None for the teacher alone"""
    system: str
    """a name of `systems`"""
    by_benchmark: Mapping[str, float] = field(default_factory=dict)
    """accuracy; empty where the table has the average alone"""
    average: float | None = None
    """accuracy over the benchmarks, as printed"""
    call_ratio: float | None = None
    """None where the table does not have it"""


def _of(
    student: Student | None,
    system: str,
    benchmarks: tuple[str, ...],
    accuracies: tuple[float, ...],
    average: float | None = None,
    call_ratio: float | None = None,
) -> PaperResult:
    return PaperResult(student, system, dict(zip(benchmarks, accuracies, strict=True)), average, call_ratio)


_MATHS = (*EASY, *HARD)

TABLE_1 = (
    _of(SMALL, systems.BASE, _MATHS, (15.81, 54.00, 64.82, 26.22, 1.04, 1.15), 27.17),
    _of(SMALL, systems.GRPO, _MATHS, (17.65, 58.60, 65.50, 29.04, 5.42, 3.23), 29.91),
    _of(SMALL, CITER, _MATHS, (19.29, 58.80, 67.78, 29.60, 5.93, 3.24), 30.77, 0.98),
    _of(SMALL, systems.RELAY_SIMPLE, _MATHS, (20.96, 60.20, 69.14, 32.15, 7.19, 3.85), 32.25, 0.31),
    _of(SMALL, systems.RELAY, _MATHS, (23.53, 60.00, 71.95, 32.74, 6.15, 3.85), 33.04, 0.77),
    _of(LARGE, systems.BASE, _MATHS, (33.82, 74.60, 82.64, 43.11, 8.75, 12.08), 42.50),
    _of(LARGE, systems.GRPO, _MATHS, (35.66, 75.60, 81.73, 45.04, 10.73, 15.62), 44.06),
    _of(LARGE, CITER, _MATHS, (38.63, 80.24, 82.26, 51.20, 11.96, 16.58), 46.81, 1.34),
    _of(LARGE, systems.RELAY_SIMPLE, _MATHS, (43.01, 83.40, 86.13, 51.56, 13.44, 18.23), 49.30, 0.43),
    _of(LARGE, systems.RELAY, _MATHS, (43.75, 81.40, 86.28, 55.70, 12.71, 17.29), 49.52, 1.07),
    _of(None, systems.TEACHER, _MATHS, (48.16, 83.20, 93.63, 56.89, 17.92, 24.90), 54.12, 100.0),
)
"""mathematics"""

TABLE_2 = (
    _of(SMALL, systems.BASE, UNSEEN, (7.19, 30.03, 17.22)),
    _of(SMALL, systems.GRPO, UNSEEN, (7.82, 32.15, 19.91)),
    _of(SMALL, CITER, UNSEEN, (8.16, 33.12, 20.34)),
    _of(SMALL, systems.RELAY_SIMPLE, UNSEEN, (8.32, 35.61, 21.35)),
    _of(SMALL, systems.RELAY, UNSEEN, (8.56, 35.87, 20.88)),
    _of(LARGE, systems.BASE, UNSEEN, (9.91, 46.90, 24.46)),
    _of(LARGE, systems.GRPO, UNSEEN, (10.89, 49.76, 26.01)),
    _of(LARGE, CITER, UNSEEN, (11.67, 53.38, 28.25)),
    _of(LARGE, systems.RELAY_SIMPLE, UNSEEN, (12.67, 58.76, 29.85)),
    _of(LARGE, systems.RELAY, UNSEEN, (12.46, 59.03, 29.93)),
    _of(None, systems.TEACHER, UNSEEN, (15.31, 66.46, 36.21)),
)
"""domains that are not trained on"""

TABLE_3 = (
    PaperResult(LARGE, systems.RELAY, average=49.52, call_ratio=1.07),
    PaperResult(LARGE, systems.NO_FILTER, average=48.76, call_ratio=3.30),
    PaperResult(LARGE, systems.NO_BONUS, average=49.34, call_ratio=4.10),
    PaperResult(LARGE, systems.NO_EXPLORATION, average=47.56, call_ratio=0.65),
)
"""ablations"""

TABLE_5 = (
    PaperResult(LARGE, systems.FIXED_SHORT, average=49.41, call_ratio=1.32),
    PaperResult(LARGE, systems.FIXED_MEDIUM, average=49.56, call_ratio=2.87),
    PaperResult(LARGE, systems.FIXED_LONG, average=51.17, call_ratio=5.37),
    PaperResult(LARGE, systems.RELAY, average=49.52, call_ratio=1.07),
)
"""lengths of calls: 20, 100, 500 tokens, and learned"""


@dataclass(frozen=True, slots=True)
class EasyAndHard:
    """One row of Table 4: average accuracy on `EASY` and on `HARD`."""

    system: str
    teacher_free: bool
    easy: float
    hard: float


TABLE_4 = (
    EasyAndHard(systems.GRPO, True, 59.51, 13.18),
    EasyAndHard(systems.RELAY_SIMPLE, False, 66.03, 15.84),
    EasyAndHard(systems.RELAY_SIMPLE, True, 61.12, 13.13),
    EasyAndHard(systems.RELAY, False, 66.78, 15.00),
    EasyAndHard(systems.RELAY, True, 60.26, 11.93),
)
"""with Qwen3-1.7B: what is left without the teacher"""

FIGURE_3: Mapping[str | None, float] = {None: 44.15, TEACHER_MODEL: 49.52}
"""average accuracy by the teacher at evaluation, as far as it is printed; None is no teacher"""


@dataclass(frozen=True, slots=True)
class RouterHeadline:
    """Figure 1: the relay student against the random router between the untrained student and the teacher."""

    share_of_equal_accuracy: float
    saved_by_queries: float
    gain_at_equal_share: float
    """points of accuracy"""


FIGURE_1 = RouterHeadline(share_of_equal_accuracy=60.4, saved_by_queries=98.2, gain_at_equal_share=6.9)
"""with Qwen3-1.7B"""


def result(table: tuple[PaperResult, ...], student: Student | None, system: str) -> PaperResult:
    """Return one row. Raises KeyError if the table does not have it."""
    for row in table:
        if (row.student, row.system) == (student, system):
            return row
    raise KeyError(f"no row of {system!r} with {student}")
