"""Waiting for actors: their results in order, and an error that names the key where one is late."""

from typing import Any

import pytest
import ray

from cluster.deadlines import results
from cluster.errors import DeadlineError, RunError

pytestmark = pytest.mark.ray


@ray.remote(num_cpus=0)
class _Actor:
    def number(self, value: int) -> int:
        return value

    def never(self) -> None:
        import threading

        threading.Event().wait()


@pytest.fixture
def actor(ray_cluster: None) -> Any:
    actor = _Actor.remote()
    yield actor
    ray.kill(actor)


def test_one_call_has_one_answer_and_several_have_a_list(actor: Any) -> None:
    assert results(actor.number.remote(3), "counting", 60.0, "rollout.deadline_s") == 3
    assert results([actor.number.remote(i) for i in (2, 1)], "counting", 60.0, "rollout.deadline_s") == [2, 1]


def test_a_late_answer_ends_the_run_with_the_key_that_gives_more_time(actor: Any) -> None:
    assert issubclass(DeadlineError, RunError)
    with pytest.raises(DeadlineError, match=r"^counting took more than 0\.5 s: raise rollout\.deadline_s"):
        results([actor.never.remote()], "counting", 0.5, "rollout.deadline_s")
