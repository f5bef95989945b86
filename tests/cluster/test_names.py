"""Two runs of one name on one cluster."""

from __future__ import annotations

import os

import pytest

from cluster.names import NameTakenError, require_free


class Idle:
    def pid(self) -> int:
        return os.getpid()


@pytest.mark.parametrize("namespace", ["relay-twice", "relay-twice-pretrain-student"])
def test_a_second_run_of_a_name_is_refused_by_the_driver_of_the_first(ray_cluster: None, namespace: str) -> None:
    import ray

    idle = ray.remote(Idle).options(name="teacher", namespace=namespace, num_cpus=0).remote()
    ray.get(idle.pid.remote(), timeout=60)
    with pytest.raises(NameTakenError) as caught:
        require_free("relay-twice", "twice")
    assert "a run called twice is on this cluster already, with the actors teacher" in str(caught.value)
    assert f"its driver is process {os.getpid()}" in str(caught.value)
    assert f"`kill {os.getpid()}`" in str(caught.value) and "name=<other>" in str(caught.value)
    require_free("relay-twic", "twic")
    ray.kill(idle)


def test_actors_of_a_driver_that_has_ended_are_waited_for(ray_cluster: None, monkeypatch: pytest.MonkeyPatch) -> None:
    from cluster import names

    leftovers = iter([[("teacher", "relay-ended")], [("teacher", "relay-ended")], []])
    monkeypatch.setattr(names, "_actors_of", lambda namespace: next(leftovers))
    monkeypatch.setattr(names, "_driver_of", lambda actor, namespace: {"IsDead": True})
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    require_free("relay-ended", "ended")
    assert list(leftovers) == []
