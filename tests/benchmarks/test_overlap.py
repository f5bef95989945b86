"""The overlap benchmark pairs a step with the rollout that was beside it."""

from benchmarks.overlap import StepTimes, step_times

ROWS = {
    step: {"time/step_s": 10.0 + step, "time/rollout_s": 1.0 * step, "time/learn_s": 4.0, "time/sync_s": 0.5}
    for step in range(1, 6)
}


def test_in_turns_a_step_has_its_own_rollout() -> None:
    assert step_times(ROWS, depth=0, skip=2) == [StepTimes(13.0, 3.0, 4.0, 0.5), StepTimes(14.0, 4.0, 4.0, 0.5)]


def test_side_by_side_a_step_has_the_rollout_of_the_next_one() -> None:
    times = step_times(ROWS, depth=1, skip=2)
    assert times == [StepTimes(13.0, 4.0, 4.0, 0.5), StepTimes(14.0, 5.0, 4.0, 0.5)]
    assert times[1].ratio == 14.0 / 5.0
