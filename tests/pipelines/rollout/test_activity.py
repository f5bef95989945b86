"""What engines write counts as progress, whether or not anything is finished."""

import io
from typing import Any

from actors.engine_host import Activity
from pipelines.rollout.activity import ActivityMonitor
from pipelines.terminal.progress import Progress


class Clock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def monitor_of(clock: Clock) -> ActivityMonitor:
    actors: list[Any] = [None, None]
    return ActivityMonitor(actors, clock)


def test_a_token_of_any_engine_shows_that_something_is_written() -> None:
    clock = Clock()
    monitor = monitor_of(clock)
    monitor.take({0: Activity(50, 0), 1: Activity(10, 0)}, 110.0)
    assert monitor.last_token == 100.0
    monitor.take({0: Activity(50, 0), 1: Activity(11, 0)}, 120.0)
    assert monitor.last_token == 120.0
    monitor.take({0: Activity(50, 0), 1: Activity(11, 0)}, 190.0)
    assert monitor.last_token == 120.0


def test_an_engine_that_has_restarted_counts_from_the_beginning() -> None:
    clock = Clock()
    monitor = monitor_of(clock)
    monitor.take({0: Activity(5000, 0)}, 110.0)
    monitor.take({0: Activity(30, 0)}, 120.0)
    assert monitor.last_token == 120.0


def test_the_progress_shows_finished_answers_and_the_rate_of_all_engines() -> None:
    clock, stream = Clock(), io.StringIO()
    monitor = monitor_of(clock)
    with Progress(64, "evaluate", sequences=1, every_s=0.0, stream=stream, clock=clock):
        monitor.take({0: Activity(0, 0), 1: Activity(0, 0)}, 110.0)
        clock.now_s = 120.0
        monitor.take({0: Activity(400, 16), 1: Activity(100, 0)}, 120.0)
    assert stream.getvalue() == "evaluate 16/64  1.25 s each  ETA 0:01:00  tokens/s=50\n"
