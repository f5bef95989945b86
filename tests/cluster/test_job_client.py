"""Whether a job ended in order or was killed is told by how long it took, the only thing that Ray shows of it."""

from __future__ import annotations

from typing import Any

import pytest
from ray.exceptions import RpcError
from ray.job_submission import JobStatus

from cluster import job_client
from cluster.job_client import JobsError, refusals_in_words, stop


class Clock:
    """Time that passes only when somebody sleeps."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        monkeypatch.setattr(job_client, "time", self)

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


class Jobs:
    """A client whose one job ends so many seconds after it was told to stop."""

    def __init__(self, clock: Clock, seconds: float) -> None:
        self._clock, self._seconds = clock, seconds

    def stop_job(self, job: str) -> None:
        self._ends_at = self._clock.now + self._seconds

    def get_job_status(self, job: str) -> JobStatus:
        return JobStatus.STOPPED if self._clock.now >= self._ends_at else JobStatus.RUNNING


@pytest.mark.parametrize(("seconds", "killed"), [(0.0, False), (118.0, False), (121.0, True), (150.0, True)])
def test_a_job_that_takes_longer_than_its_grace_was_killed(
    monkeypatch: pytest.MonkeyPatch, seconds: float, killed: bool
) -> None:
    client: Any = Jobs(Clock(monkeypatch), seconds)
    assert stop(client, "raysubmit_1", 120) == (JobStatus.STOPPED, killed)


def test_a_cluster_of_which_only_rays_note_is_left_does_not_answer() -> None:
    with pytest.raises(JobsError, match="no cluster answers at this machine"), refusals_in_words(None):
        raise RpcError("Timed out while waiting for GCS")


def test_a_job_that_ray_does_not_end_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    client: Any = Jobs(Clock(monkeypatch), 1000.0)
    with pytest.raises(JobsError, match="has not ended after 180 s"):
        stop(client, "raysubmit_1", 120)
