"""Random and perfect routers, against mixtures that are drawn or spelled out."""

from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.analysis.bootstrap import ALL, AVERAGE, Replicates, Resampling
from pipelines.analysis.problem_means import ProblemMeans
from pipelines.analysis.routers import (
    RandomRouter,
    perfect_router,
    random_router_curve,
    share_for_accuracy,
    token_share,
)

SHARE = st.floats(0.0, 1.0)
TOKENS = st.floats(1.0, 1e5)


def both(random_table, samples: int = 1) -> tuple[ProblemMeans, ProblemMeans]:
    counts = {"a": 40, "b": 25}
    student = random_table(counts, accuracy=0.4, seed=1, samples=samples, tokens=30)
    teacher = random_table(counts, accuracy=0.8, seed=2, samples=samples, tokens=90, by_teacher=True)
    return ProblemMeans.of(student), ProblemMeans.of(teacher)


def replicates(*systems: ProblemMeans) -> list[Replicates]:
    resampling = Resampling.of(systems[0], 60)
    return [Replicates.of(system, resampling) for system in systems]


@given(SHARE, SHARE, TOKENS, TOKENS)
def test_the_teachers_share_of_tokens_rises_from_none_to_all(p, q, student_tokens, teacher_tokens) -> None:
    low, high = sorted((p, q))
    assert token_share(0.0, student_tokens, teacher_tokens) == 0.0
    assert token_share(1.0, student_tokens, teacher_tokens) == 1.0
    assert token_share(low, student_tokens, teacher_tokens) <= token_share(high, student_tokens, teacher_tokens) + 1e-12
    assert token_share(p, student_tokens, student_tokens) == pytest.approx(p)


@given(st.floats(0.001, 1.0), SHARE, SHARE)
def test_the_share_for_an_accuracy_has_that_accuracy(p, student, gap) -> None:
    teacher = student + 0.01 + gap
    accuracy = (1 - p) * student + p * teacher
    found = float(share_for_accuracy(accuracy, student, teacher))
    assert found == pytest.approx(p, abs=1e-9) or accuracy > teacher


@pytest.mark.parametrize(
    ("accuracy", "student", "teacher", "expected"),
    [
        (0.9, 0.4, 0.8, np.inf),
        (0.4, 0.4, 0.8, -np.inf),
        (0.3, 0.4, 0.8, -np.inf),
        (0.5, 0.4, 0.3, np.inf),
        (0.35, 0.4, 0.3, -np.inf),
        (0.8, 0.4, 0.8, 1.0),
    ],
)
def test_accuracies_that_no_router_has_are_not_clamped(accuracy, student, teacher, expected) -> None:
    assert float(share_for_accuracy(accuracy, student, teacher)) == expected


def test_the_curve_goes_straight_from_student_to_teacher(random_table) -> None:
    student, teacher = replicates(*both(random_table))
    for scope in ("a", "b", ALL, AVERAGE):
        curve = random_router_curve(student, teacher, scope, points=11)
        ends = [system.estimate(scope, lambda means: means.accuracy).value for system in (student, teacher)]
        assert curve.share == pytest.approx(np.linspace(0, 1, 11))
        assert curve.accuracy == pytest.approx(np.linspace(*ends, 11))
        assert curve.token_share[[0, -1]] == pytest.approx([0.0, 1.0])
        assert (np.diff(curve.token_share) > 0).all()
        assert curve.teacher_tokens[0] == 0


def test_the_expected_mixture_is_that_of_many_drawn_ones(random_table) -> None:
    student, teacher = both(random_table)
    share, random = 0.3, Random(0)
    accuracy, written, output = [], 0.0, 0.0
    for _ in range(3000):
        for i in range(len(student)):
            by_teacher = random.random() < share
            means = (teacher if by_teacher else student).means
            accuracy.append(means.accuracy[i])
            output += means.output_tokens[i]
            written += means.output_tokens[i] * by_teacher
    router = RandomRouter.of(*replicates(student, teacher), ALL)
    shares = np.full(61, share)
    assert router.accuracy(shares)[0] == pytest.approx(np.mean(accuracy), abs=0.005)
    assert router.token_share(shares)[0] == pytest.approx(written / output, abs=0.005)


@pytest.mark.parametrize("scope", ["a", ALL, AVERAGE])
def test_the_share_for_a_share_of_tokens_is_the_inverse(random_table, scope) -> None:
    router = RandomRouter.of(*replicates(*both(random_table)), scope)
    shares = np.linspace(0.0, 1.0, 61)
    assert router.share_for_token_share(router.token_share(shares)) == pytest.approx(shares, abs=1e-9)


def test_a_perfect_router_of_single_answers_is_right_where_either_model_is(random_table) -> None:
    student, teacher = both(random_table)
    router = perfect_router(student, teacher)
    failed = student.means.accuracy == 0
    expected = (student.means.accuracy == 1) | (teacher.means.accuracy == 1)
    assert router.means.accuracy.tolist() == expected.astype(float).tolist()
    assert router.means.teacher_tokens.tolist() == np.where(failed, teacher.means.output_tokens, 0).tolist()
    assert (
        router.means.output_tokens.tolist()
        == np.where(failed, teacher.means.output_tokens, student.means.output_tokens).tolist()
    )
    assert router.means.teacher_input.tolist() == np.where(failed, 5, 0).tolist()


def test_a_perfect_router_of_several_samples_is_the_mean_over_all_pairs(random_table) -> None:
    counts = {"a": 9}
    own = random_table(counts, accuracy=0.5, seed=1, samples=4)
    other = random_table(counts, accuracy=0.5, seed=2, samples=3, by_teacher=True)
    router = perfect_router(ProblemMeans.of(own), ProblemMeans.of(other))
    for problem in range(9):
        mine, theirs = (np.flatnonzero(table.problem == problem) for table in (own, other))
        pairs = [(i, j) for i in mine for j in theirs]
        right = [own.correct[i] or other.correct[j] for i, j in pairs]
        teacher = [0 if own.correct[i] else other.output_tokens[j] for i, j in pairs]
        output = [own.output_tokens[i] if own.correct[i] else other.output_tokens[j] for i, j in pairs]
        assert router.means.accuracy[problem] == pytest.approx(np.mean(right))
        assert router.means.teacher_tokens[problem] == pytest.approx(np.mean(teacher))
        assert router.means.output_tokens[problem] == pytest.approx(np.mean(output))


@given(seed=st.integers(0, 10_000), samples=st.integers(1, 3))
def test_a_perfect_router_is_at_least_as_accurate_as_both(random_table, seed, samples) -> None:
    counts = {"a": 6}
    student = ProblemMeans.of(random_table(counts, accuracy=0.5, seed=seed, samples=samples))
    teacher = ProblemMeans.of(random_table(counts, 0.6, seed + 1, samples, by_teacher=True))
    router = perfect_router(student, teacher).means
    assert (router.accuracy >= np.maximum(student.means.accuracy, teacher.means.accuracy) - 1e-12).all()
    assert (router.teacher_tokens <= teacher.means.teacher_tokens + 1e-9).all()
    assert (router.call_ratio <= 1).all()


def test_a_perfect_routers_student_has_to_answer_alone(random_table) -> None:
    relay = ProblemMeans.of(random_table({"a": 3}, 0.5, seed=1, teacher_part=0.5))
    with pytest.raises(ValueError, match="should answer alone"):
        perfect_router(relay, relay)
