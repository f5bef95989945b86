"""An actor's time is divided among its states."""

from __future__ import annotations

from cluster.metrics.states import ActorState, StateClock


class Time:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_time_goes_to_the_state_that_counts_most() -> None:
    time = Time()
    clock = StateClock("rollout", time)
    time.now += 1
    with clock.within(ActorState.WRITING):
        time.now += 2
        with clock.within(ActorState.WRITING), clock.within(ActorState.SYNCING):
            assert clock.state is ActorState.SYNCING
            time.now += 4
        assert clock.state is ActorState.WRITING
        time.now += 8
    time.now += 16
    seconds = {state: spent for state, spent in clock.seconds().items() if spent}
    assert seconds == {ActorState.IDLE: 17.0, ActorState.WRITING: 10.0, ActorState.SYNCING: 4.0}


def test_an_end_without_a_beginning_changes_nothing() -> None:
    clock = StateClock("rollout", Time())
    clock.end(ActorState.ASLEEP)
    assert clock.state is ActorState.IDLE
    clock.begin(ActorState.ASLEEP)
    assert clock.state is ActorState.ASLEEP
    clock.end(ActorState.ASLEEP)
    assert clock.state is ActorState.IDLE


def test_readings_name_one_state_and_all_seconds() -> None:
    time = Time()
    clock = StateClock("learner", time)
    clock.begin(ActorState.LEARNING)
    time.now += 3
    readings = list(clock.readings())
    now = [r.tags["state"] for r in readings if r.name == "relayllm_actor_state" and r.value == 1]
    seconds = {r.tags["state"]: r.value for r in readings if r.name == "relayllm_state_seconds"}
    assert now == ["learning"] and seconds["learning"] == 3.0
    assert set(seconds) == set(ActorState) and {r.tags["role"] for r in readings} == {"learner"}
