"""Actors that die: restarts are told, an actor that is lost ends the run with the reason."""

from __future__ import annotations

import os
import signal
import threading
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cluster import supervision
from cluster.deadlines import results
from cluster.heartbeat import Heartbeat
from cluster.stacks import show_stacks_on_signal
from cluster.supervision import ActorLostError, ActorWatch, cause_of_death

BY_RAY = (
    'actor_died_error_context { error_message: "Task was killed due to the node running low on memory.\\n'
    'Memory on the node was 23.8GB / 24GB" }'
)
UNEXPLAINED = (
    'actor_died_error_context { error_message: "Worker exit type: SYSTEM_ERROR Worker exit detail: Worker unexpectedly '
    "exits with a connection error code 2. End of file. Some common causes include: (1) the process was killed by the OOM "
    'killer due to high memory usage" }'
)


def actor(name: str) -> Any:
    return SimpleNamespace(_actor_id=SimpleNamespace(hex=lambda: name))


class States:
    """What Ray says of each actor."""

    def __init__(self) -> None:
        self.of: dict[str, dict[str, Any]] = {}

    def __call__(self, actor_id: str) -> dict[str, Any]:
        return self.of.get(actor_id, {"State": "ALIVE", "NumRestarts": 0, "DeathCause": ""})


@pytest.fixture
def states() -> States:
    return States()


def watch_of(states: States, monkeypatch: pytest.MonkeyPatch, kernel_kills: int = 0) -> ActorWatch:
    kills = iter([0, *[kernel_kills] * 100])
    monkeypatch.setattr(supervision, "_oom_kills", lambda: next(kills))
    watch = ActorWatch(lambda role: f"To need less: {role}.engine.kv_cache_gib", states)
    watch.add("teacher", actor("teacher"), 3, essential=True)
    watch.add("rollout-0", actor("rollout-0"), 3, essential=False)
    return watch


def test_a_restart_is_told_once_with_its_number(
    states: States, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    watch = watch_of(states, monkeypatch, kernel_kills=1)
    states.of["rollout-0"] = {"State": "ALIVE", "NumRestarts": 2, "DeathCause": ""}
    assert not watch.look() and not watch.look()
    (record,) = caplog.records
    assert record.getMessage() == (
        "rollout-0 died and is restarted, 2 of 3 times: the kernel killed a process of this machine because memory ran out"
    )
    assert watch.loss() is None


def test_a_lost_actor_is_named_with_its_deaths_the_reason_and_the_keys(
    states: States, monkeypatch: pytest.MonkeyPatch
) -> None:
    watch = watch_of(states, monkeypatch)
    states.of["teacher"] = {"State": "DEAD", "NumRestarts": 3, "DeathCause": BY_RAY, "Pid": 7}
    assert watch.look()
    said = str(watch.loss())
    assert said.startswith("teacher is lost: it died 4 times, and cluster.max_restarts (3) allows no more restarts.")
    assert "Ray's memory monitor killed it" in said
    assert said.endswith("To need less: teacher.engine.kv_cache_gib")


def test_a_lost_worker_does_not_end_a_run_that_has_others(states: States, monkeypatch: pytest.MonkeyPatch) -> None:
    watch = watch_of(states, monkeypatch)
    states.of["rollout-0"] = {"State": "DEAD", "NumRestarts": 3, "DeathCause": UNEXPLAINED}
    assert not watch.look()
    assert "rollout-0 is lost" in str(watch.loss())
    assert "rollout.engine.kv_cache_gib" in str(watch.loss())


def test_of_spare_actors_one_is_enough(
    states: States, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    watch = ActorWatch(lambda role: f"To need less: {role}.engine.kv_cache_gib", states)
    for number in range(2):
        watch.add(f"teacher-{number}", actor(f"teacher-{number}"), 0, essential=False, spare=True)
    assert not watch.look()
    states.of["teacher-1"] = {"State": "DEAD", "NumRestarts": 0, "DeathCause": UNEXPLAINED}
    assert not watch.look() and not watch.look()
    (record,) = caplog.records
    assert "teacher-1 is lost; others of its role may go on" in record.getMessage()
    states.of["teacher-0"] = {"State": "DEAD", "NumRestarts": 0, "DeathCause": UNEXPLAINED}
    assert watch.look()
    assert "teacher.engine.kv_cache_gib" in str(watch.loss())


def test_an_actor_that_never_came_up_keeps_its_own_error(states: States, monkeypatch: pytest.MonkeyPatch) -> None:
    watch = watch_of(states, monkeypatch)
    states.of["teacher"] = {"State": "DEAD", "NumRestarts": 0, "DeathCause": "creation_task_failure_context { ... }"}
    assert not watch.look()
    assert watch.loss() is None


def test_actors_that_the_run_ends_itself_are_not_lost(states: States, monkeypatch: pytest.MonkeyPatch) -> None:
    watch = watch_of(states, monkeypatch)
    watch.forget([actor("teacher")])
    states.of["teacher"] = {"State": "DEAD", "NumRestarts": 0, "DeathCause": "ray.kill"}
    assert not watch.look()


@pytest.mark.parametrize(
    ("said", "found"),
    [
        (BY_RAY, "memory ran out, and Ray's memory monitor killed it"),
        (UNEXPLAINED, "it was killed or crashed; the kernel's memory killer does so"),
        ('error_message: "The node that ran the actor has died."', "The node that ran the actor has died."),
        ("", "Ray gives no reason"),
    ],
)
def test_the_cause_of_death_is_a_sentence(said: str, found: str) -> None:
    assert cause_of_death(said).startswith(found)


class Victim:
    def pid(self) -> int:
        return os.getpid()


def test_an_actor_killed_more_often_than_it_may_restart_ends_the_block_that_waits_for_something_else(
    ray_cluster: None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    import ray

    monkeypatch.setattr(supervision, "_POLL_S", 0.2)
    victim = ray.remote(Victim).options(num_cpus=0, max_restarts=1).remote()
    pid = victim.pid.options(max_task_retries=-1)

    def run() -> None:
        with ActorWatch(str) as watch:
            watch.add("teacher", victim, 1, essential=True)
            first = ray.get(pid.remote(), timeout=60)
            os.kill(first, signal.SIGKILL)
            second = ray.get(pid.remote(), timeout=60)
            assert first != second
            os.kill(second, signal.SIGKILL)
            threading.Event().wait(120)

    with pytest.raises(ActorLostError, match=r"teacher is lost: it died 2 times.*max_restarts \(1\)"):
        run()
    assert any("teacher died and is restarted, 1 of 1 times" in record.getMessage() for record in caplog.records)


def test_a_loss_that_is_seen_after_the_block_has_ended_does_not_end_the_process(
    states: States, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervision, "_POLL_S", 0.01)
    looking, ended = threading.Event(), threading.Event()
    watch = watch_of(states, monkeypatch)

    def look() -> bool:
        looking.set()
        return ended.wait(60)

    monkeypatch.setattr(watch, "look", look)
    with watch:
        assert looking.wait(60)
    ended.set()
    watch._thread.join(60)
    assert not watch._thread.is_alive() and not watch._woke_main


def test_states_that_cannot_be_read_do_not_hide_the_error_of_the_block(
    states: States, monkeypatch: pytest.MonkeyPatch
) -> None:
    import ray

    def unreadable() -> bool:
        raise ConnectionError("Ray is gone")

    monkeypatch.setattr(supervision, "_LOOK_AGAIN_S", 0.0)
    watch = watch_of(states, monkeypatch)
    monkeypatch.setattr(watch, "look", unreadable)
    with pytest.raises(ray.exceptions.ActorDiedError), watch:
        raise ray.exceptions.ActorDiedError


def test_a_failed_call_of_a_lost_actor_becomes_the_reason(ray_cluster: None) -> None:
    import ray

    victim = ray.remote(Victim).options(num_cpus=0).remote()

    def run() -> None:
        with ActorWatch(str) as watch:
            watch.add("learner-0", victim, 0, essential=False)
            os.kill(ray.get(victim.pid.remote(), timeout=60), signal.SIGKILL)
            ray.get(victim.pid.remote(), timeout=60)

    with pytest.raises(ActorLostError, match="learner-0 is lost: it died once, and Ray does not restart it") as lost:
        run()
    assert lost.value.roles == {"learner"}


def test_a_worker_that_was_lost_before_does_not_count_when_the_learner_is_lost(
    states: States, monkeypatch: pytest.MonkeyPatch
) -> None:
    watch = watch_of(states, monkeypatch)
    states.of["rollout-0"] = {"State": "DEAD", "NumRestarts": 3, "DeathCause": BY_RAY}
    watch.look()
    assert (loss := watch.loss()) is not None and loss.roles == {"rollout"}
    states.of["teacher"] = {"State": "DEAD", "NumRestarts": 3, "DeathCause": BY_RAY}
    watch.look()
    assert (loss := watch.loss()) is not None and loss.roles == {"teacher"}
    assert "rollout-0 is lost" in str(loss)


def test_a_deadline_that_a_lost_actor_misses_is_told_as_its_loss(
    states: States, monkeypatch: pytest.MonkeyPatch
) -> None:
    import ray

    def late(calls: object, timeout: float) -> None:
        raise ray.exceptions.GetTimeoutError("late")

    monkeypatch.setattr(ray, "get", late)
    states.of["teacher"] = {"State": "DEAD", "NumRestarts": 3, "DeathCause": BY_RAY}
    with pytest.raises(ActorLostError, match="teacher is lost"), watch_of(states, monkeypatch):
        results([], "waiting", 0.2, "rollout.deadline_s")


def test_other_errors_and_a_ctrl_c_go_through(states: States, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="bug"), watch_of(states, monkeypatch):
        raise ValueError("bug")
    with pytest.raises(KeyboardInterrupt), watch_of(states, monkeypatch):
        raise KeyboardInterrupt


class Answers:
    """Writes its process id and never waits; the driver of the test stops the process."""

    async def ready(self) -> int:
        return os.getpid()


@pytest.mark.ray
def test_a_stopped_actor_is_ended_restarted_and_answers_again(
    ray_cluster: None, caplog: pytest.LogCaptureFixture
) -> None:
    import ray

    stopped = ray.remote(Answers).options(num_cpus=0, max_restarts=1).remote()
    well = ray.remote(Answers).options(num_cpus=0, max_restarts=1).remote()
    first, other = ray.get([stopped.ready.remote(), well.ready.remote()])
    now = 0.0
    watch = ActorWatch(lambda role: "")
    for name, watched in {"teacher-0": stopped, "rollout-0": well}.items():
        watch.add(name, watched, 1, essential=True, heartbeat=Heartbeat(watched.ready.remote, 60.0, lambda: now))
    os.kill(first, signal.SIGSTOP)
    try:
        assert not watch.look()
        ray.get(well.ready.remote())
        now = 59.0
        assert not watch.look() and not caplog.records
        ray.get(well.ready.remote())
        now = 61.0
        assert not watch.look()
        assert ray.get(stopped.ready.options(max_task_retries=-1).remote(), timeout=60) != first
        assert ray.get(well.ready.remote()) == other
        assert not watch.look()
        told, *others = [record.getMessage() for record in caplog.records]
        assert told.startswith(
            "teacher-0 does not answer, and is ended so that Ray restarts it: it did not answer for 60 s"
        )
        assert others == [
            "teacher-0 died and is restarted, 1 of 1 times: it did not answer for 60 s",
        ]
    finally:
        with suppress(ProcessLookupError):
            os.kill(first, signal.SIGKILL)
        for actor_of in (stopped, well):
            ray.kill(actor_of)


class Hangs:
    """Answers until it is told to hang, in a function of that name."""

    def __init__(self) -> None:
        show_stacks_on_signal()

    async def ready(self) -> int:
        return os.getpid()

    async def hang(self) -> None:
        def stands_still_here() -> None:
            threading.Event().wait()

        stands_still_here()


@pytest.mark.ray
def test_where_an_actor_hangs_is_in_its_log_before_it_is_ended(
    ray_cluster: None, caplog: pytest.LogCaptureFixture
) -> None:
    import ray

    hanging = ray.remote(Hangs).options(num_cpus=0, max_restarts=1).remote()
    first, now = ray.get(hanging.ready.remote()), 0.0
    watch = ActorWatch(lambda role: "")
    watch.add("reward", hanging, 1, essential=True, heartbeat=Heartbeat(hanging.ready.remote, 60.0, lambda: now))
    try:
        hanging.hang.remote()
        watch.look()
        now = 61.0
        watch.look()
        assert ray.get(hanging.ready.options(max_task_retries=-1).remote(), timeout=60) != first
        said = caplog.records[0].getMessage()
        assert said.endswith(f"Where its threads stood should be in Ray's log of process {first}, worker-*-{first}.err")
        (log,) = Path(ray._private.worker.global_worker.node.get_logs_dir_path()).glob(f"worker-*-{first}.err")
        assert "in stands_still_here" in log.read_text()
    finally:
        ray.kill(hanging)


def test_an_actor_that_starts_has_no_limit(states: States) -> None:
    now, asked, ended = 0.0, [], []
    watch = ActorWatch(lambda role: "", states, ended.append)
    watch.add(
        "teacher",
        actor("teacher"),
        3,
        essential=True,
        heartbeat=Heartbeat(lambda: asked.append(now), 60.0, lambda: now),
    )
    states.of["teacher"] = {"State": "PENDING_CREATION", "NumRestarts": 0, "DeathCause": ""}
    assert not watch.look()
    now = 1000.0
    assert not watch.look()
    assert asked == ended == []


def test_an_actor_that_is_not_back_in_time_is_given_up(states: States, caplog: pytest.LogCaptureFixture) -> None:
    now = 0.0
    ended: list[bool] = []
    watch = ActorWatch(
        lambda role: "", states, lambda _, may_return: ended.append(may_return), start_timeout_s=60, clock=lambda: now
    )
    watch.add("teacher", actor("teacher"), 3, essential=True)
    states.of["teacher"] = {"State": "RESTARTING", "NumRestarts": 1, "DeathCause": "its node has died"}
    assert not watch.look()
    now = 59.0
    assert not watch.look()
    states.of["teacher"]["State"] = "ALIVE"  # it was back, so the time begins anew
    assert not watch.look()
    states.of["teacher"] |= {"State": "RESTARTING", "NumRestarts": 2}
    now = 100.0
    assert not watch.look()
    now = 161.0
    assert not watch.look() and not watch.look()
    assert ended == [False]
    states.of["teacher"] |= {"State": "DEAD", "Pid": 7}
    assert watch.look()
    said = str(watch.loss())
    assert said.startswith(
        "teacher is lost: it died 2 times, and the run does not wait for it any longer. Last: it was not back after 60 s"
    )
