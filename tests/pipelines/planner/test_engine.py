"""The simulated engine against times that can be computed by hand."""

import pytest
import simpy

from pipelines.planner.engine import Engine
from pipelines.planner.rates import EngineRates

FLAT = EngineRates(step_s=1.0)
"""a step takes a second, however many sequences are in it"""


def ends(rates: EngineRates, turns: list[tuple[float, int, int]], most: int = 100) -> tuple[list[float], float]:
    """Return when each of the turns (start, read, written) ends, and how long the engine was busy."""
    now = simpy.Environment()
    engine = Engine(now, rates, most)
    found = [0.0] * len(turns)

    def ask(index: int, start: float, read: int, written: int):  # type: ignore[no-untyped-def]
        yield now.timeout(start)
        yield engine.turn(read, written)
        found[index] = now.now

    now.run(simpy.AllOf(now, [now.process(ask(index, *turn)) for index, turn in enumerate(turns)]))
    return found, engine.busy_s


def test_one_turn_takes_its_tokens_times_a_step() -> None:
    assert ends(FLAT, [(0, 0, 7)]) == ([7.0], 7.0)


def test_turns_in_one_batch_do_not_wait_for_each_other() -> None:
    found, busy = ends(FLAT, [(0, 0, 3), (0, 0, 5), (10, 0, 2)])
    assert found == [3.0, 5.0, 12.0]
    assert busy == 7.0  # idle from 5 to 10


def test_each_sequence_makes_the_steps_of_all_longer() -> None:
    found, _ = ends(EngineRates(step_s=0.0, cache_s=1.0), [(0, 0, 3), (0, 0, 5)])
    assert found == [6.0, 8.0]  # three steps of 2 s, then two of 1 s


def test_reading_holds_up_all_sequences() -> None:
    found, _ = ends(EngineRates(step_s=1.0, prefill_s=0.5), [(0, 0, 4), (1, 4, 1)])
    assert found == [6.0, 4.0]  # one step, two seconds of reading, then steps together


def test_a_full_engine_lets_turns_wait_in_order() -> None:
    found, busy = ends(FLAT, [(0, 0, 3), (0, 0, 3), (0, 0, 1)], most=1)
    assert found == [3.0, 6.0, 7.0] and busy == 7.0


def test_a_step_is_limited_by_memory_or_by_arithmetic() -> None:
    rates = EngineRates(step_s=0.0, weights_s=4.0, cache_s=0.1, compute_s=1.0)
    assert rates.step(2) == pytest.approx(4.2)  # reads the weights
    assert rates.step(10) == pytest.approx(10.0)  # computes
