"""The schema of what a run runs on: engines, actors and machines."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from actors.settings import EngineSettings, SamplingSettings
from cluster.devices import Device
from cluster.settings import ActorCount, HomePath, Seconds, Settings, Threads


class RolloutSettings(Settings):
    """The rollout workers."""

    workers: ActorCount = Field(1, description="actors, each with an engine of its own")
    min_workers: ActorCount | None = Field(
        None,
        description="a run begins with so many of them, and each of the others joins it as soon as the cluster has room for it; "
        "all of them if empty",
    )
    engine: EngineSettings = EngineSettings()
    sequences_in_flight: int = Field(512, gt=0, le=1_000_000, description="sequences handed to one worker at a time")
    deadline_s: Seconds = Field(
        3600.0, description="time limit of one order; after it the order goes to another worker"
    )
    seeded_sampling: bool | None = Field(
        None,
        description="sample every turn with its own seed, made from run seed, stage, problem, sample and turn: runs with the "
        "same seed then agree until a rounding difference changes a token, with any number of workers; if empty, only on CPUs, "
        "where it costs little",
    )
    probe_gap: float | None = Field(
        0.5,
        gt=0,
        description="after each sync of weights every engine writes a few tokens and the learner scores them; if their log-probs differ "
        "by more than this many nats on average, the weights are sent again, and if that does not help the worker is restarted; empty: "
        "no such probe. There is none with `cluster.colocate` either",
    )

    @property
    def first_workers(self) -> int:
        """How many workers a run begins with."""
        return self.workers if self.min_workers is None else self.min_workers


class TeacherSettings(Settings):
    """The shared teacher."""

    engine: EngineSettings = EngineSettings()
    sampling: SamplingSettings = Field(SamplingSettings(temperature=0.0), description="how it draws tokens on call")
    replicas: ActorCount = Field(
        1,
        description="actors with the same teacher; a call goes to the one that holds its prefix, or is least busy",
    )
    cache: HomePath | None = Field(
        None,
        description="folder of a recorded teacher: a call that was made before is answered from it, if it is greedy or has a "
        "seed; not recorded if empty",
    )


Share = Annotated[float, Field(gt=0.0, le=1.0)]


class GpuShares(Settings):
    """Share of a GPU that each process reserves. Processes whose shares fit use one GPU. Nothing enforces the shares."""

    teacher: Share = Field(1.0, description="for each GPU of the teacher's engine")
    rollout: Share = Field(1.0, description="for each GPU of a rollout worker's engine")
    citer: Share = Field(1.0, description="for CITER's student")
    learner: Share = Field(1.0, description="for each learner rank")


class ClusterSettings(Settings):
    """The machines, and what each process uses of them."""

    device: Device = Device.GPU
    gpus: GpuShares = Field(
        GpuShares(),
        description="share that each process reserves; below 1 for actors that share a GPU, on a small node",
    )
    colocate: bool = Field(
        False,
        description="rollout workers and learner ranks use the same GPUs in turn: engines sleep while the learner trains, "
        "and the learner's states are in host memory while engines write",
    )
    address: str | None = Field(None, description="a running cluster; if empty RAY_ADDRESS, or else a local cluster")
    cpus_per_actor: float = Field(1.0, gt=0.0, le=1024.0, description="logical CPUs each actor reserves")
    engine_threads: Threads = Field(1, description="OpenMP threads of an engine")
    learner_threads: Threads = Field(1, description="OpenMP threads of a learner rank")
    max_restarts: int = Field(
        3,
        ge=0,
        le=1000,
        description="how often each engine and the reward actor may be restarted, and how often all actors are started again "
        "after the loss of a learner rank, before the run ends",
    )
    placement_timeout_s: Seconds = Field(300.0, description="for the cluster to have room for all actors")
    hang_timeout_s: Seconds = Field(
        60.0,
        description="an engine or the reward actor that does not answer for so long is ended and restarted",
    )
    metrics_every_s: Annotated[float, Field(gt=0.0, le=10.0)] | None = Field(
        5.0,
        description="how often driver and actors publish metrics for Prometheus; never if empty. Ray exports every 10 s, and "
        "drops gauges that are not set in between",
    )
    start_timeout_s: Seconds = Field(900.0, description="time limit for engines and learner ranks to start")
