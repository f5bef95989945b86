"""The start-up benchmark: whose processor seconds are whose, and the bound that follows."""

import os

import pytest

from benchmarks.startup import REST, Process, Start, processes, processor_seconds, rows_of


def test_an_actor_has_the_seconds_of_the_processes_below_it_and_the_root_all_others() -> None:
    found = {
        1: Process(0, "init", 100.0),
        2: Process(1, "python", 1.0),
        3: Process(2, "raylet", 2.0),
        4: Process(3, "ray::TeacherActor", 4.0),
        5: Process(3, "ray::RewardActor.health", 8.0),
        6: Process(5, "grading", 16.0),
    }
    expected = {"teacher": 4.0, "rollout": 0.0, "learner": 0.0, "reward and its processes": 24.0, REST: 3.0}
    assert processor_seconds(found, root=2) == expected


def test_the_kernels_count_of_this_process_is_the_interpreters() -> None:
    mine = processes()[os.getpid()]
    assert mine.parent == os.getppid()
    assert mine.processor_s == pytest.approx(sum(os.times()[:4]), abs=0.1)


def test_side_by_side_takes_at_least_all_seconds_over_the_cores() -> None:
    start = Start({"Ray": 3.0, "actors": 9.0}, 8.0, {"teacher": 6.0, REST: 6.0})
    rows = {row.name: row for row in rows_of([start], {"teacher": 4.0, "learner": 2.0}, cores=2)}
    assert rows["from the command to the first token"].median == 12.0
    assert rows["from the first actor's start until all are up"].ratio == 2.0
    assert (rows["all of it / 2 cores"].median, rows["all of it / 2 cores"].ratio) == (6.0, 1.5)
