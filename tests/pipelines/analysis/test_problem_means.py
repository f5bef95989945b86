"""Per-problem means, against plain loops over the rows."""

import numpy as np
import pytest

from pipelines.analysis.problem_means import ProblemMeans, check_same_problems


def test_samples_of_a_problem_become_one_mean(table_of) -> None:
    table = table_of(
        [
            {"problem": 3, "correct": True, "output_tokens": 10, "calls": ((2, 4, 4, 7, 0),)},
            {"problem": 3, "correct": False, "output_tokens": 30},
            {"problem": 8, "kind": "hard", "correct": True, "output_tokens": 8, "timed_out": True},
        ]
    )
    system = ProblemMeans.of(table)
    assert system.problem.tolist() == [3, 8]
    assert system.kind.tolist() == ["easy", "hard"]
    assert system.means.accuracy.tolist() == [0.5, 1.0]
    assert system.means.output_tokens.tolist() == [20.0, 8.0]
    assert system.means.teacher_tokens.tolist() == [2.0, 0.0]
    assert system.means.call_ratio.tolist() == [0.1, 0.0]
    assert system.means.call_ratio_of_sample.tolist() == [0.2, 0.0]
    assert system.means.called.tolist() == [0.5, 0.0]
    assert system.means.correct_output_tokens.tolist() == [5.0, 8.0]
    assert system.means.timed_out.tolist() == [0.0, 1.0]


def test_a_student_reads_the_prompt_once_and_after_each_call_what_the_teacher_wrote(table_of) -> None:
    calls = ((10, 4, 4, 30, 0), (20, 6, 6, 44, 32))
    means = ProblemMeans.of(table_of([{"output_tokens": 40, "prompt_tokens": 15, "calls": calls}])).means
    assert means.student_input.item() == 15 + 4 + 6
    assert means.student_cached.item() == (15 + 10) + (15 + 20)
    assert means.teacher_input.item() == 30 + 44
    assert means.teacher_cached.item() == 32
    assert means.student_tokens.item() == 30


def test_a_call_that_ends_the_answer_hands_nothing_back(table_of) -> None:
    row = {"output_tokens": 14, "prompt_tokens": 15, "calls": ((10, 9, 4, 30, 0),)}
    means = ProblemMeans.of(table_of([row])).means
    assert means.student_input.item() == 15
    assert means.student_cached.item() == 0


def test_an_answer_of_the_teacher_alone_is_prefilled_by_the_teacher(table_of) -> None:
    row = {"output_tokens": 40, "teacher_tokens": 40, "prompt_tokens": 15}
    means = ProblemMeans.of(table_of([row])).means
    assert means.teacher_input.item() == 15
    assert means.student_input.item() == 0
    assert means.student_tokens.item() == 0


def test_calls_whose_prefill_was_not_recorded_are_counted(table_of) -> None:
    calls = ((2, 4, 4, 0, 0), (7, 4, 0, 0, 0), (8, 1, 1, 20, 0))
    means = ProblemMeans.of(table_of([{"output_tokens": 40, "calls": calls}])).means
    assert means.unrecorded_calls.item() == 1


def test_an_empty_answer_has_a_call_ratio_of_zero(table_of) -> None:
    means = ProblemMeans.of(table_of([{"output_tokens": 0}])).means
    assert means.call_ratio.item() == 0.0
    assert means.call_ratio_of_sample.item() == 0.0


def test_the_problems_of_some_kinds_are_chosen_with_their_means(table_of) -> None:
    rows = [{"kind": "a", "output_tokens": 1}, {"kind": "b", "output_tokens": 2}, {"kind": "c", "output_tokens": 3}]
    chosen = ProblemMeans.of(table_of(rows)).of_kinds(frozenset({"a", "c"}))
    assert chosen.problem.tolist() == [0, 2]
    assert chosen.means.output_tokens.tolist() == [1.0, 3.0]


def test_systems_on_different_problems_are_refused_with_the_problem(table_of) -> None:
    first = ProblemMeans.of(table_of([{"problem": 1}, {"problem": 2}]))
    with pytest.raises(ValueError, match="the first with index 2"):
        check_same_problems(first, ProblemMeans.of(table_of([{"problem": 1}])))
    with pytest.raises(ValueError, match="problem 2 is 'easy' in one table and 'hard' in the other"):
        check_same_problems(first, ProblemMeans.of(table_of([{"problem": 1}, {"problem": 2, "kind": "hard"}])))


def test_the_order_of_rows_does_not_matter(random_table) -> None:
    table = random_table({"a": 5, "b": 4}, accuracy=0.5, seed=3, samples=3, teacher_part=0.3)
    order = np.random.default_rng(0).permutation(len(table))
    columns = {
        name: tuple(value[i] for i in order) if isinstance(value, tuple) else value[order]
        for name, value in ((name, getattr(table, name)) for name in table.__slots__)
    }
    shuffled, straight = ProblemMeans.of(type(table)(**columns)), ProblemMeans.of(table)
    assert shuffled.problem.tolist() == straight.problem.tolist()
    assert shuffled.kind.tolist() == straight.kind.tolist()
    assert shuffled.means.output_tokens == pytest.approx(straight.means.output_tokens)
    assert shuffled.means.teacher_input == pytest.approx(straight.means.teacher_input)
