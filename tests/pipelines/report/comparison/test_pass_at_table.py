"""pass@k in the comparison: shown where problems were answered several times, and as the definition has it."""

from __future__ import annotations

from dataclasses import replace

from pipelines.analysis.results import StudyResults
from pipelines.report.comparison.compared import Comparison, compare
from pipelines.report.comparison.pass_at import pass_at_table


def test_one_answer_to_each_problem_needs_no_table(results: StudyResults) -> None:
    assert pass_at_table(compare(results, 50)) is None


def test_pass_at_k_is_of_the_right_among_k_answers(results: StudyResults, table_of) -> None:
    right = [(True, True, False, False), (False, False, False, False)]
    rows = [
        {"problem": problem, "kind": "plain", "correct": correct}
        for problem, answers in enumerate(right)
        for correct in answers
    ]
    system = replace(results.systems["relay"], table=table_of(rows))
    comparison: Comparison = compare(replace(results, systems={"relay": system}), 50)
    table = pass_at_table(comparison)
    assert table is not None
    assert [column.title for column in table.columns] == ["pass@1", "pass@2", "pass@4"]
    (row,) = table.rows
    # Of the first problem's 6 pairs of answers, one has none of the two right ones.
    assert [cell.text for cell in row.cells] == ["25.0\u00a0%", "41.7\u00a0%", "50.0\u00a0%"]
