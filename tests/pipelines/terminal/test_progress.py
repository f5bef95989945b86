"""Progress in logs and in terminals."""

import io

from rich.console import Console

from pipelines.terminal.live import current
from pipelines.terminal.progress import Progress, wrote


class Clock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_log_gets_one_plain_line_per_interval_and_one_at_the_end() -> None:
    stream, clock = io.StringIO(), Clock()
    with Progress(10, "grpo", every_s=30, stream=stream, clock=clock) as progress:
        for step in range(7):
            clock.now_s += 10
            progress.update(reward=step / 8, note="a\nb")
    assert stream.getvalue().splitlines() == [
        "grpo 1/10  10 s each  ETA 0:01:30  reward=0  note=a b",
        "grpo 4/10  10 s each  ETA 0:01:00  reward=0.375  note=a b",
        "grpo 7/10  10 s each  ETA 0:00:30  reward=0.75  note=a b",
    ]


def test_the_end_is_shown_even_within_the_interval_and_only_once() -> None:
    stream, clock = io.StringIO(), Clock()
    progress = Progress(3, "filter", stream=stream, clock=clock)
    for _ in range(3):
        clock.now_s += 0.25
        progress.update()
    progress.close()
    progress.close()
    assert stream.getvalue() == "filter 1/3  4/s  ETA 0:00:00\nfilter 3/3  4/s\n"


def test_work_of_an_earlier_process_does_not_count_in_the_rate() -> None:
    stream, clock = io.StringIO(), Clock()
    progress = Progress(1000, "grpo", done=900, stream=stream, clock=clock)
    clock.now_s += 1
    progress.update(50)
    assert stream.getvalue() == "grpo 950/1000  50/s  ETA 0:00:01\n"


def test_an_unknown_total_and_a_standing_clock_are_fine() -> None:
    stream = io.StringIO()
    Progress(None, "load", stream=stream, clock=Clock()).update(5)
    assert stream.getvalue() == "load 5\n"


def test_nothing_done_says_nothing() -> None:
    stream = io.StringIO()
    Progress(5, "load", stream=stream, clock=Clock()).close()
    assert stream.getvalue() == ""


def test_a_terminal_gets_a_bar_with_the_latest_values() -> None:
    stream = Terminal()
    with Progress(2, "grpo", stream=stream) as progress:
        progress.update(reward=0.5)
        progress.update(loss=2.0)
        assert current() is not None
        screen = Console(file=io.StringIO(), width=80)
        screen.print(current())
    assert isinstance(screen.file, io.StringIO)
    shown = screen.file.getvalue()
    assert "grpo" in shown and "2/2" in shown and "reward 0.5" in shown and "loss 2" in shown
    assert current() is None


def test_finished_sequences_of_orders_under_way_count_and_their_order_does_not_count_twice() -> None:
    stream, clock = io.StringIO(), Clock()
    with Progress(100, "evaluate", sequences=1, stream=stream, clock=clock) as progress:
        clock.now_s += 30
        wrote(20, 500.0)
        clock.now_s += 30
        progress.update(32)
    assert stream.getvalue().splitlines() == [
        "evaluate 20/100  1.5 s each  ETA 0:02:00  tokens/s=500",
        "evaluate 32/100  1.88 s each  ETA 0:02:08  tokens/s=500",
    ]


def test_a_step_of_many_sequences_shows_how_many_of_them_are_finished() -> None:
    stream, clock = io.StringIO(), Clock()
    with Progress(10, "GRPO", done=3, sequences=192, stream=stream, clock=clock):
        clock.now_s += 96
        wrote(96, 250.0)
    assert stream.getvalue() == "GRPO 3/10  192 s each  ETA 0:20:48  answers=96/192  tokens/s=250\n"
