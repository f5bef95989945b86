"""Engines and learner in turn on the same GPUs: what is refused, who is beside whom, and what the driver's block does."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from cluster.placement import place_of
from pipelines.experiment.loading import ConfigError, load
from pipelines.experiment.resume import MAY_CHANGE_ON_RESUME
from pipelines.experiment.schema import Experiment
from pipelines.system.system import System, Training
from tests.pipelines.small import SMALL

IN_TURN = (
    SMALL
    + """\
rollout: {engine: {gpu_memory_utilization: 0.4}}
teacher: {engine: {gpu_memory_utilization: 0.5}}
cluster: {device: gpu, colocate: true, gpus: {teacher: 0.5, rollout: 0.4, learner: 0.1}}
"""
)
TWO_RANKS = ["rollout.workers=2", "learner.ranks=2", "cluster.gpus={teacher: 0.4, rollout: 0.5, learner: 0.1}"]


@pytest.fixture
def small(tmp_path: Path) -> Path:
    path = tmp_path / "small.yaml"
    path.write_text(IN_TURN)
    return path


def test_it_is_off_by_default() -> None:
    assert not Experiment.model_fields["cluster"].default.colocate


def test_one_gpu_holds_teacher_worker_and_rank(small: Path) -> None:
    bundles = load(small, [], Experiment).bundles()
    assert sum(bundle.gpus for bundle in bundles) == pytest.approx(1)
    place = place_of(bundles)
    assert place["learner-0"] == place["rollout-0"] != place["teacher"]


def test_on_two_gpus_each_rank_is_beside_a_worker_of_its_own(small: Path) -> None:
    settings = [*TWO_RANKS, "teacher.engine.gpu_memory_utilization=0.4"]
    place = place_of(load(small, settings, Experiment).bundles())
    assert place["learner-0"] == place["rollout-0"] != place["rollout-1"] == place["learner-1"]


def test_without_the_mode_every_actor_has_a_place_of_its_own(small: Path) -> None:
    bundles = load(small, ["cluster.colocate=false"], Experiment).bundles()
    assert place_of(bundles) == {bundle.actor: bundle.actor for bundle in bundles}


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["cluster.device=cpu"], "cluster.device (cpu) should be gpu with cluster.colocate true"),
        (["grpo.async_depth=1"], "grpo.async_depth (1) should be 0 with cluster.colocate true"),
        (["grpo.extra_prompts=2"], "grpo.extra_prompts (2) should be 0 with cluster.colocate true"),
        (["learner.zero_stage=0"], "learner.zero_stage (0) should be 1 or 2 with cluster.colocate true"),
        (["learner.zero_stage=3"], "learner.zero_stage (3) should be 1 or 2 with cluster.colocate true"),
        (["citer.enabled=true"], "citer.enabled (true) should be false with cluster.colocate true"),
        (["rollout.engine.tensor_parallel=2"], "rollout.engine.tensor_parallel (2) should be 1"),
        (["rollout.workers=2"], "rollout.workers (2) should be learner.ranks (1) with cluster.colocate true"),
        (
            ["cluster.gpus.learner=0.7"],
            "cluster.gpus.rollout (0.4) and cluster.gpus.learner (0.7) should together be at most 1",
        ),
        (["rollout.workers=2", "learner.ranks=2"], "should together be more than 0.5"),
    ],
)
def test_what_does_not_go_together_is_refused_before_anything_starts(
    small: Path, overrides: list[str], message: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        load(small, overrides, Experiment)
    assert message in str(caught.value)


def test_all_that_does_not_go_together_is_named_at_once(small: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load(small, ["grpo.async_depth=1", "learner.zero_stage=3"], Experiment)
    assert "grpo.async_depth (1)" in str(caught.value)
    assert "learner.zero_stage (3)" in str(caught.value)


def test_a_run_that_trains_nothing_has_nobody_to_take_turns_with(small: Path) -> None:
    nothing = ["warmup.enabled=false", "grpo.enabled=false", "citer.enabled=true", "cluster.gpus.citer=0.1"]
    experiment = load(small, nothing, Experiment)
    assert not experiment.colocated
    assert all(bundle.beside is None for bundle in experiment.bundles())


def test_a_run_may_go_on_with_the_mode_or_without() -> None:
    assert "cluster" in MAY_CHANGE_ON_RESUME


class Turns:
    """In the place of `GpuTurns`: logs who has the GPUs."""

    def __init__(self, log: list[str]) -> None:
        self.log, self.engines_sleep = log, False

    def to_learner(self) -> None:
        self.log.append("to learner")
        self.engines_sleep = True

    def to_engines(self, sync_weights: Callable[[], None]) -> None:
        sync_weights()
        self.log.append("to engines")
        self.engines_sleep = False


class Transport:
    def __init__(self, log: list[str]) -> None:
        self.log = log

    def sync(self, version: int) -> None:
        self.log.append(f"sync {version}")


class Pool:
    version = 3


def system(log: list[str], colocated: bool) -> System:
    nobody: Any = None
    pool: Any = Pool()
    turns: Any = Turns(log) if colocated else None
    return System(nobody, pool, nobody, "base", training=Training(nobody, Transport(log), turns))


@pytest.mark.parametrize("syncs", [True, False])
def test_after_the_block_the_engines_are_awake_with_the_learners_weights(syncs: bool) -> None:
    log: list[str] = []
    actors = system(log, colocated=True)
    with actors.learning():
        log.append("learn")
        if syncs:
            actors.sync_weights()
    assert log == ["to learner", "learn", "sync 4", "to engines"]
    assert actors.student is None


def test_a_sync_outside_the_block_wakes_nobody() -> None:
    log: list[str] = []
    system(log, colocated=True).sync_weights()
    assert log == ["sync 4"]


def test_an_error_of_the_learner_comes_out_of_the_block_at_once() -> None:
    log: list[str] = []
    with pytest.raises(ValueError, match="diverged"), system(log, colocated=True).learning():
        raise ValueError("diverged")
    assert log == ["to learner"]


def test_without_the_mode_the_block_does_nothing() -> None:
    log: list[str] = []
    actors = system(log, colocated=False)
    with actors.learning():
        log.append("learn")
    assert log == ["learn"]
    assert actors.student == "base"


def test_falling_asleep_is_a_phase_of_the_step_only_in_the_mode() -> None:
    log: list[str] = []

    @contextmanager
    def phase(name: str) -> Iterator[None]:
        log.append(f"{name} begins")
        yield
        log.append(f"{name} ends")

    with system(log, colocated=True).learning(phase):
        pass
    assert log == ["sleep begins", "to learner", "sleep ends", "sync 4", "to engines"]
    with system(log, colocated=False).learning(phase):
        assert log[5:] == []
