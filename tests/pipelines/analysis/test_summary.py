"""Results of one system."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.analysis.bootstrap import ALL, AVERAGE, Resampling
from pipelines.analysis.problem_means import ProblemMeans
from pipelines.analysis.summary import pass_at_k, pass_sizes, summarize


@given(st.lists(st.booleans(), min_size=1, max_size=7), st.data())
def test_pass_at_k_is_the_share_of_all_choices_with_a_right_answer(table_of, rights, data) -> None:
    k = data.draw(st.integers(1, len(rights)))
    table = table_of([{"problem": 0, "correct": right} for right in rights])
    choices = [any(choice) for choice in combinations(rights, k)]
    assert pass_at_k(table, k) == pytest.approx([sum(choices) / len(choices)])


def test_pass_at_more_than_the_answers_is_refused(table_of) -> None:
    table = table_of([{"problem": 4}, {"problem": 4}, {"problem": 9}])
    with pytest.raises(ValueError, match=r"pass@2 should have k from 1 to 1, the answers to problem 9"):
        pass_at_k(table, 2)


@pytest.mark.parametrize(("samples", "sizes"), [(1, (1,)), (2, (1, 2)), (6, (1, 2, 4, 6)), (32, (1, 2, 4, 8, 16, 32))])
def test_pass_is_given_for_powers_of_two_and_all_samples(random_table, samples, sizes) -> None:
    assert pass_sizes(random_table({"a": 3}, 0.5, seed=0, samples=samples)) == sizes


def test_a_summary_says_what_the_rows_say(random_table) -> None:
    table = random_table({"a": 6, "b": 10}, accuracy=0.5, seed=1, samples=4, teacher_part=0.25)
    summaries = summarize(table, Resampling.of(ProblemMeans.of(table), 100))
    assert set(summaries) == {"a", "b", ALL, AVERAGE}
    pooled = summaries[ALL]
    assert pooled.problems == summaries[AVERAGE].problems == 16
    assert pooled.accuracy.value == pytest.approx(table.correct.mean())
    assert pooled.call_ratio.value == pytest.approx(table.teacher_tokens.sum() / table.output_tokens.sum())
    assert pooled.call_ratio_of_sample.value == pytest.approx((table.teacher_tokens / table.output_tokens).mean())
    assert pooled.calls_per_sample.value == pytest.approx(table.calls.mean())
    assert pooled.output_tokens.value == pytest.approx(table.output_tokens.mean())
    b = table.of_kind("b")
    assert summaries["b"].problems == 10
    assert summaries["b"].accuracy.value == pytest.approx(b.correct.mean())
    kinds = [table.of_kind(kind).correct.mean() for kind in "ab"]
    assert summaries[AVERAGE].accuracy.value == pytest.approx(np.mean(kinds))


def test_pass_at_one_is_the_accuracy_and_grows_with_k(random_table) -> None:
    table = random_table({"a": 20, "b": 5}, accuracy=0.3, seed=4, samples=8)
    for summary in summarize(table, Resampling.of(ProblemMeans.of(table), 100)).values():
        assert summary.pass_at[1].value == pytest.approx(summary.accuracy.value)
        assert summary.pass_at[1].low == pytest.approx(summary.accuracy.low)
        values = [summary.pass_at[k].value for k in (1, 2, 4, 8)]
        assert values == sorted(values)
