"""Simulated steps: what they must take by arithmetic, and how they change with the number of actors."""

from dataclasses import replace

import pytest

from pipelines.planner.rates import EngineRates, LearnerRates, Rates
from pipelines.planner.shapes import Call, Shape
from pipelines.planner.simulation import Layout, learn_seconds, simulate

RATES = Rates(EngineRates(1.0), EngineRates(1.0), LearnerRates(0.01, 2.0), hop_s=0.5, grading_s=0.0, sync_s=3.0)
LAYOUT = Layout(workers=1, teachers=1, ranks=1, prompts=4, group_size=2, mini_batches=2)
PLAIN = Shape(prompt=10, calls=(), rest=20)
CALLING = Shape(prompt=10, calls=(Call(after=5, read=15, written=4),), rest=6)


def test_a_step_without_calls_is_the_sum_of_its_phases() -> None:
    found = simulate(LAYOUT, RATES, [PLAIN])
    assert found.rollout_s == 20.0
    assert found.learn_s == pytest.approx(8 * 30 * 0.01 + 2 * 2.0)  # all tokens, and two optimizer steps
    assert found.step_s == pytest.approx(found.rollout_s + found.learn_s + 3.0)


def test_a_call_adds_its_hop_and_the_teachers_tokens() -> None:
    found = simulate(LAYOUT, RATES, [CALLING])
    assert found.rollout_s == 5 + 0.5 + 4 + 6
    assert found.teacher_busy == pytest.approx(4 / found.step_s)


def test_an_asynchronous_step_takes_as_long_as_its_longer_part() -> None:
    apart = simulate(LAYOUT, RATES, [PLAIN], steps=50)
    beside = simulate(replace(LAYOUT, async_depth=1), RATES, [PLAIN], steps=50)
    assert apart.step_s == pytest.approx(29.4)
    # The first rollout has nothing beside it, and the last learning neither.
    assert beside.step_s == pytest.approx((50 * 20 + 50 * 3 + apart.learn_s) / 50)


def test_more_workers_help_only_until_the_longest_answer_is_the_limit() -> None:
    shapes = [replace(PLAIN, rest=rest) for rest in (10, 20, 200)]
    crowded = replace(RATES, student=EngineRates(step_s=0.1, cache_s=0.1), learner=LearnerRates(0.0))
    layout = replace(LAYOUT, prompts=64, group_size=8)
    times = [simulate(replace(layout, workers=workers), crowded, shapes).rollout_s for workers in (1, 8, 512)]
    assert times[0] > 2 * times[1] > 4 * times[2]
    assert times[2] >= 200 * 0.2
    assert simulate(replace(layout, workers=512), crowded, shapes).bottleneck == "the longest answers of a step"


def test_a_learner_rank_takes_at_least_as_long_as_the_longest_answer() -> None:
    answers = [Shape(0, (), 100)] * 4
    seconds = [learn_seconds(replace(LAYOUT, ranks=ranks, mini_batches=1), RATES, answers) for ranks in (1, 4, 64)]
    assert seconds == pytest.approx([4.0 + 2, 1.0 + 2, 1.0 + 2])


def test_a_slow_teacher_is_the_bottleneck_and_replicas_relieve_it() -> None:
    slow = replace(RATES, teacher=EngineRates(step_s=1.0, cache_s=1.0))
    layout = replace(LAYOUT, prompts=64)
    one = simulate(layout, slow, [CALLING])
    assert one.bottleneck == "the teacher"
    assert simulate(replace(layout, teachers=8), slow, [CALLING]).rollout_s < one.rollout_s / 2


def test_equal_seeds_give_equal_predictions() -> None:
    shapes = [PLAIN, CALLING]
    assert simulate(LAYOUT, RATES, shapes, seed=3) == simulate(LAYOUT, RATES, shapes, seed=3)
