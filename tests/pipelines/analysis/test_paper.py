"""The paper's numbers agree with each other, and its headlines come out of our formulas."""

import pytest

from pipelines.analysis import systems
from pipelines.analysis.paper import (
    EASY,
    FIGURE_1,
    FIGURE_3,
    HARD,
    LARGE,
    TABLE_1,
    TABLE_2,
    TABLE_3,
    TABLE_4,
    TABLE_5,
    TEACHER_MODEL,
    PaperResult,
    result,
)
from pipelines.analysis.routers import share_for_accuracy


def mean_of(row: PaperResult, benchmarks: tuple[str, ...]) -> float:
    return sum(row.by_benchmark[name] for name in benchmarks) / len(benchmarks)


@pytest.mark.parametrize("row", TABLE_1, ids=lambda row: f"{row.student}-{row.system}")
def test_printed_averages_are_the_means_over_the_benchmarks(row: PaperResult) -> None:
    assert row.average == pytest.approx(mean_of(row, (*EASY, *HARD)), abs=0.011)


def test_tables_agree_with_each_other() -> None:
    relay = result(TABLE_1, LARGE, systems.RELAY)
    for table in (TABLE_3, TABLE_5):
        row = result(table, LARGE, systems.RELAY)
        assert (row.average, row.call_ratio) == (relay.average, relay.call_ratio)
    assert FIGURE_3[TEACHER_MODEL] == relay.average


@pytest.mark.parametrize("row", [row for row in TABLE_4 if row.system != systems.GRPO and not row.teacher_free])
def test_easy_and_hard_are_the_means_of_their_benchmarks(row) -> None:
    full = result(TABLE_1, LARGE, row.system)
    assert (row.easy, row.hard) == pytest.approx((mean_of(full, EASY), mean_of(full, HARD)), abs=0.011)


def test_without_a_teacher_figure_3_is_the_average_of_table_4() -> None:
    (row,) = (row for row in TABLE_4 if row.system == systems.RELAY and row.teacher_free)
    average = (len(EASY) * row.easy + len(HARD) * row.hard) / len((*EASY, *HARD))
    assert FIGURE_3[None] == pytest.approx(average, abs=0.011)


def test_the_headlines_come_out_of_the_random_router() -> None:
    base, relay = (result(TABLE_1, LARGE, system) for system in (systems.BASE, systems.RELAY))
    teacher = result(TABLE_1, None, systems.TEACHER)
    share = float(share_for_accuracy(relay.average, base.average, teacher.average))
    assert 100 * share == pytest.approx(FIGURE_1.share_of_equal_accuracy, abs=0.05)
    assert 100 * (1 - relay.call_ratio / (100 * share)) == pytest.approx(FIGURE_1.saved_by_queries, abs=0.05)
    at_its_ratio = base.average + relay.call_ratio / 100 * (teacher.average - base.average)
    assert relay.average - at_its_ratio == pytest.approx(FIGURE_1.gain_at_equal_share, abs=0.05)


def test_every_system_of_tables_1_and_2_is_in_both() -> None:
    rows_1, rows_2 = ({(row.student, row.system) for row in table} for table in (TABLE_1, TABLE_2))
    assert rows_1 == rows_2


def test_a_row_that_is_not_there_is_named() -> None:
    with pytest.raises(KeyError, match=r"no row of .no_bonus. with Qwen3-1\.7B"):
        result(TABLE_1, LARGE, systems.NO_BONUS)
