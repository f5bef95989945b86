"""The experiment schema: one YAML file is one run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from actors.citer.settings import CiterSettings
from actors.grading import GradingSettings
from actors.rollout import Policy
from actors.settings import (
    RUNNING_OF_LEARNER,
    EngineSettings,
    GrpoLossSettings,
    LearnerSettings,
    OptimizerSettings,
    RelayLimits,
    SamplingSettings,
)
from cluster.devices import Device
from cluster.placement import Bundle
from cluster.settings import HomePath, Seed, Settings
from cluster.weight_transport import InFlight
from pipelines.alarms import AlarmSettings
from pipelines.colocation import misfits
from pipelines.data_settings import DataSettings
from pipelines.model_settings import ModelSettings, ModelsSettings
from pipelines.tracking import TrackingSettings
from rewards.schemes import RewardSettings


class FilterSettings(Settings):
    """Keep the training problems that the teacher can solve (paper section 3.1)."""

    enabled: bool = True
    samples: int = Field(10, gt=0, description="teacher samples per problem")
    min_pass_rate: float = Field(0.5, ge=0.0, le=1.0)
    sampling: SamplingSettings = SamplingSettings(temperature=0.7, top_p=0.95)


class WarmupSettings(Settings):
    """Supervised warm-up: own samples with commands inserted at random (paper section 2.2)."""

    enabled: bool = True
    samples: int = Field(4096, gt=0, description="own samples to train on")
    copies: int = Field(1, gt=0, description="rows of each own sample, every one with its own random commands")
    sampling: SamplingSettings = Field(SamplingSettings(), description="of the own samples")
    commands: tuple[int, int] = Field((0, 3), description="fewest and most commands of a sample")
    digits: tuple[int, int] = Field((1, 9), description="range of d in n = d * 10^k")
    exponents: tuple[int, int] = Field((0, 3), description="range of k in n = d * 10^k")
    epochs: int = Field(1, gt=0)
    rows_per_step: int = Field(64, gt=0)
    optimizer: OptimizerSettings = OptimizerSettings(lr=2e-5)

    @model_validator(mode="after")
    def _ranges(self) -> WarmupSettings:
        for name, lowest in (("commands", 0), ("digits", 1), ("exponents", 0)):
            first, last = getattr(self, name)
            if not lowest <= first <= last:
                raise ValueError(
                    f"{name} should be [first, last] with {lowest} <= first <= last, not [{first}, {last}]"
                )
        return self


class GrpoSettings(Settings):
    """GRPO with relayed rollouts (paper section 2.3)."""

    enabled: bool = True
    steps: int = Field(100, gt=0)
    prompts_per_step: int = Field(128, gt=0)
    group_size: int = Field(8, gt=1, description="trajectories of one prompt (G)")
    mini_batches: int = Field(4, gt=0, description="optimizer steps per rollout step; groups stay whole")
    async_depth: Literal[0, 1] = Field(
        0, description="1: a step's groups are decoded while the step before is learned from, by the policy before that"
    )
    extra_prompts: int = Field(
        0, ge=0, description="groups beyond a step's that are decoded at a time: the last to finish join a later step"
    )
    max_staleness: int = Field(
        2, ge=1, description="policy versions that a group may be behind; a step waits for one that would be more"
    )
    sampling: SamplingSettings = SamplingSettings()
    limits: RelayLimits = RelayLimits()
    loss: GrpoLossSettings = GrpoLossSettings()
    optimizer: OptimizerSettings = OptimizerSettings()
    checkpoint_every: int = Field(10, gt=0, description="steps between checkpoints")
    keep_checkpoints: int = Field(2, gt=0)
    evaluate_every: int = Field(25, gt=0, description="steps between evaluations on part of the problems")
    in_flight: InFlight = Field(
        InFlight.FINISH,
        description="what becomes of turns being written when new weights arrive: finish under the old weights, or "
        "continue under the new ones",
    )

    @model_validator(mode="after")
    def _consistent(self) -> GrpoSettings:
        if self.mini_batches > self.prompts_per_step:
            raise ValueError(
                f"mini_batches ({self.mini_batches}) should be at most prompts_per_step ({self.prompts_per_step})"
            )
        if self.extra_prompts > self.prompts_per_step:
            raise ValueError(
                f"extra_prompts ({self.extra_prompts}) should be at most prompts_per_step ({self.prompts_per_step})"
            )
        if self.max_staleness < (needed := self.async_depth + (self.extra_prompts > 0)):
            raise ValueError(
                f"max_staleness ({self.max_staleness}) should be at least {needed}: async_depth ({self.async_depth}), and "
                "one more where extra_prompts lets groups be late"
            )
        if self.sampling.top_p != 1.0 or self.sampling.top_k != -1 or self.sampling.greedy:
            raise ValueError(
                "sampling should have temperature > 0, top_p 1 and top_k -1: else importance ratios are biased"
            )
        return self


def _with_relay_before_random_placement(policies: tuple[Policy, ...]) -> tuple[Policy, ...]:
    names = [policy.value for policy in policies]
    if len(set(names)) < len(names):
        raise ValueError(f"each policy should be listed once, not {names}")
    if Policy.RANDOM_PLACEMENT in policies and Policy.RELAY not in policies[: policies.index(Policy.RANDOM_PLACEMENT)]:
        raise ValueError(f"random_placement takes its calls from the relay answers: list relay before it, not {names}")
    return policies


def _without_teacher(policies: tuple[Policy, ...]) -> tuple[Policy, ...]:
    if Policy.TEACHER in policies:
        raise ValueError("the teacher does not change in training: list it in evaluation.base or evaluation.final")
    return policies


Policies = Annotated[tuple[Policy, ...], AfterValidator(_with_relay_before_random_placement)]
StudentPolicies = Annotated[Policies, AfterValidator(_without_teacher)]


class EvaluationSettings(Settings):
    """Greedy pass@1 unless configured otherwise."""

    base: Policies = Field((Policy.STUDENT, Policy.TEACHER), description="policies evaluated before training, by name")
    warmup: StudentPolicies | None = Field(
        None, description="after the warm-up; if empty student and relay, or none where the warm-up is disabled"
    )
    training: StudentPolicies = Field(
        (Policy.STUDENT, Policy.RELAY), description="within GRPO, on part of the problems"
    )
    final: Policies = Field(
        (Policy.STUDENT, Policy.RELAY), description="at the end; random_placement needs relay before it in the list"
    )
    teacher: ModelSettings | None = Field(
        None, description="the teacher of the final evaluation, if it is another one than in training"
    )
    sampling: SamplingSettings = SamplingSettings(temperature=0.0)
    limits: RelayLimits = RelayLimits(max_calls=5)
    problems_during_training: int = Field(
        256, gt=0, description="the first so many problems, for evaluations within GRPO"
    )
    traces: int = Field(60, ge=0, description="sample traces that the report shows")
    max_failed_call_share: float | None = Field(
        0.02,
        ge=0.0,
        le=1.0,
        description="an evaluation with a larger share of failed calls stops the run and is not kept; null keeps any",
    )


class RolloutSettings(Settings):
    """The rollout workers."""

    workers: int = Field(1, ge=1)
    engine: EngineSettings = EngineSettings()
    sequences_in_flight: int = Field(512, gt=0, description="handed to one worker at a time")
    deadline_s: float = Field(3600.0, gt=0.0, description="for one order; then it goes to another worker")
    seeded_sampling: bool | None = Field(
        None,
        description="every turn draws with a seed from run seed, stage, problem, sample and turn, so that runs of one seed "
        "agree until rounding parts them, whatever the number of workers; if empty on CPUs, where it costs next to nothing",
    )


class TeacherSettings(Settings):
    """The shared teacher."""

    engine: EngineSettings = EngineSettings()
    sampling: SamplingSettings = Field(SamplingSettings(temperature=0.0), description="of the tokens it writes on call")


Share = Annotated[float, Field(gt=0.0, le=1.0)]


class GpuShares(Settings):
    """Parts of a GPU that processes reserve; those whose parts fit together share one. Nobody enforces them."""

    teacher: Share = 1.0
    rollout: Share = 1.0
    citer: Share = 1.0
    learner: Share = 1.0


class ClusterSettings(Settings):
    """Machines."""

    device: Device = Device.GPU
    gpus: GpuShares = Field(
        GpuShares(), description="reserved by each process; below 1 for actors that share a GPU, on a small node"
    )
    colocate: bool = Field(
        False,
        description="rollout workers and learner ranks share GPUs in turn: engines sleep while the learner is at a step, "
        "and its states are in host memory while they write",
    )
    address: str | None = Field(None, description="a running cluster; RAY_ADDRESS or a local one if empty")
    cpus_per_actor: float = Field(1.0, gt=0.0, description="logical CPUs each actor reserves")
    engine_threads: int = Field(1, gt=0, description="OpenMP threads of an engine")
    learner_threads: int = Field(1, gt=0, description="OpenMP threads of a learner rank")
    max_restarts: int = Field(
        3, ge=0, description="times that each engine, and the reward actor, may be restarted before the run ends"
    )
    placement_timeout_s: float = Field(300.0, gt=0.0)
    start_timeout_s: float = Field(900.0, gt=0.0, description="for engines and learner ranks to come up")


_ONLY_ON_GPUS = {
    "liger_kernels": "they are Triton kernels for GPUs",
    "offload_optimizer": "the optimizer is on the host already",
}


class Experiment(Settings):
    """One run."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    seed: Seed = 0
    run_dir: HomePath | None = Field(None, description="where everything is written; runs/<name> if empty")
    share_dir: HomePath | None = Field(
        None,
        description="where finished stages are kept by the content of what they depend on, for other runs to find; "
        "if empty each run does all of its own",
    )
    models: ModelsSettings
    data: DataSettings
    filter: FilterSettings = FilterSettings()
    warmup: WarmupSettings = WarmupSettings()
    grpo: GrpoSettings = GrpoSettings()
    evaluation: EvaluationSettings = EvaluationSettings()
    citer: CiterSettings = CiterSettings()
    reward: RewardSettings = RewardSettings()
    grading: GradingSettings = GradingSettings()
    rollout: RolloutSettings = RolloutSettings()
    teacher: TeacherSettings = TeacherSettings()
    learner: LearnerSettings = LearnerSettings()
    cluster: ClusterSettings = ClusterSettings()
    tracking: TrackingSettings = TrackingSettings()
    alarms: AlarmSettings = AlarmSettings()

    @property
    def directory(self) -> Path:
        return self.run_dir or Path("runs") / self.name

    @property
    def namespace(self) -> str:
        """The Ray namespace of the run's named actors."""
        return f"relay-{self.name}"

    @property
    def seeded_sampling(self) -> bool:
        """Whether each turn samples with a seed of its own. On GPUs vLLM draws such requests one by one."""
        chosen = self.rollout.seeded_sampling
        return self.cluster.device is Device.CPU if chosen is None else chosen

    @property
    def alarms_in_force(self) -> AlarmSettings:
        """The alarms' thresholds; a run that trains without calls has none on them."""
        if self.grpo.limits.max_calls:
            return self.alarms
        return self.alarms.model_copy(update={"calls_vanish": None, "calls_everywhere": None})

    @property
    def trains(self) -> bool:
        """Whether the student is trained."""
        return self.warmup.enabled or self.grpo.enabled

    @property
    def colocated(self) -> bool:
        """Whether engines and learner have the same GPUs in turn: there is a learner."""
        return self.cluster.colocate and self.trains

    @property
    def filters(self) -> bool:
        """Whether training problems are filtered: there is a stage that uses them."""
        warms_up_on_them = self.warmup.enabled and not self.data.warmup
        return self.filter.enabled and (self.grpo.enabled or self.citer.enabled or warms_up_on_them)

    def evaluated_after_warmup(self) -> tuple[Policy, ...]:
        """Return the policies that are evaluated after the warm-up."""
        if self.evaluation.warmup is not None:
            return self.evaluation.warmup
        return (Policy.STUDENT, Policy.RELAY) if self.warmup.enabled else ()

    def with_final_teacher(self) -> Experiment:
        """Return the experiment as the final evaluation sees it: with that evaluation's teacher."""
        if self.evaluation.teacher is None:
            return self
        models = self.models.model_copy(update={"teacher": self.evaluation.teacher})
        return self.model_copy(update={"models": models})

    def bundles(self) -> list[Bundle]:
        """Return what each actor of the run needs, the teacher first."""
        cpus, on_gpu, gpus = self.cluster.cpus_per_actor, self.cluster.device is Device.GPU, self.cluster.gpus
        return [
            Bundle("teacher", cpus, gpus.teacher * self.teacher.engine.tensor_parallel * on_gpu),
            *(
                Bundle(f"rollout-{i}", cpus, gpus.rollout * self.rollout.engine.tensor_parallel * on_gpu)
                for i in range(self.rollout.workers)
            ),
            *([Bundle("citer", cpus, gpus.citer * on_gpu)] if self.citer.enabled else []),
            Bundle("reward", cpus, 0),
            *(
                Bundle(f"learner-{i}", cpus, gpus.learner * on_gpu, f"rollout-{i}" if self.colocated else None)
                for i in range(self.learner.ranks if self.trains else 0)
            ),
        ]

    @model_validator(mode="after")
    def _colocation(self) -> Experiment:
        if self.colocated and (found := "; ".join(misfits(self))):
            raise ValueError(found)
        return self

    @model_validator(mode="after")
    def _shares_of_gpus(self) -> Experiment:
        if self.cluster.device is not Device.GPU:
            return self
        shares = self.cluster.gpus
        for name, engine in (("teacher", self.teacher.engine), ("rollout", self.rollout.engine)):
            share: float = getattr(shares, name)
            if share < 1 and engine.tensor_parallel > 1:
                raise ValueError(
                    f"cluster.gpus.{name} ({share:g}) should be 1: an engine over {engine.tensor_parallel} GPUs has them alone"
                )
            if share < 1 and engine.gpu_memory_utilization > share:
                raise ValueError(
                    f"{name}.engine.gpu_memory_utilization ({engine.gpu_memory_utilization:g}) should be at most "
                    f"cluster.gpus.{name} ({share:g}): the rest of the GPU's memory is for others"
                )
        if shares.learner < 1 and self.learner.ranks > 1 and not self.colocated:
            raise ValueError(
                f"cluster.gpus.learner ({shares.learner:g}) should be 1 for {self.learner.ranks} learner ranks: "
                "NCCL refuses two ranks on one GPU"
            )
        return self

    @model_validator(mode="after")
    def _sums_of_gradients(self) -> Experiment:
        if self.trains and self.learner.zero_stage == 0 and self.learner.dtype == "bfloat16":
            raise ValueError(
                "learner.zero_stage (0) should be 1, 2 or 3 with learner.dtype bfloat16: DeepSpeed's stage 0 sums the gradients "
                "of a step's micro-batches in bfloat16, where small ones round away"
            )
        return self

    @model_validator(mode="after")
    def _speed_of_learner(self) -> Experiment:
        if self.cluster.device is Device.CPU:
            for key, reason in _ONLY_ON_GPUS.items():
                if getattr(self.learner, key):
                    raise ValueError(f"learner.{key} should be false with cluster.device cpu: {reason}")
        return self

    @model_validator(mode="after")
    def _samples_differ(self) -> Experiment:
        for index, source in enumerate(self.data.evaluation):
            if source.samples > 1 and (source.sampling or self.evaluation.sampling).greedy:
                raise ValueError(
                    f"data.evaluation.{index}.samples ({source.samples}) should be 1 with greedy sampling, whose answers are "
                    f"all equal; or set data.evaluation.{index}.sampling.temperature above 0"
                )
        if self.filter.samples > 1 and self.filter.sampling.greedy:
            raise ValueError(
                f"filter.samples ({self.filter.samples}) should be 1 with greedy sampling, whose answers are all equal; or "
                "set filter.sampling.temperature above 0"
            )
        return self

    @model_validator(mode="after")
    def _fits(self) -> Experiment:
        for where, limits in (("grpo.limits", self.grpo.limits), ("evaluation.limits", self.evaluation.limits)):
            room = self.rollout.engine.max_model_len
            if limits.max_new_tokens >= room:
                raise ValueError(
                    f"{where}.max_new_tokens ({limits.max_new_tokens}) should be below rollout.engine.max_model_len ({room}), "
                    "which holds the prompt too"
                )
        return self


MAY_CHANGE_ON_RESUME = (
    "run_dir",
    "cluster",
    "tracking",
    "alarms",
    "rollout.workers",
    "rollout.sequences_in_flight",
    "rollout.deadline_s",
    "rollout.seeded_sampling",
    "evaluation.traces",
    "evaluation.max_failed_call_share",
    "models.cache_dir",
    "citer.max_sequences",
    *(
        f"{engine}.engine.{key}"
        for engine in ("rollout", "teacher")
        for key in (
            "max_num_seqs",
            "block_size",
            "tensor_parallel",
            "gpu_memory_utilization",
            "kv_cache_gib",
            "enforce_eager",
        )
    ),
    "grading.workers",
    "grading.start_timeout_s",
    "grpo.checkpoint_every",
    "grpo.keep_checkpoints",
    *(f"learner.{key}" for key in RUNNING_OF_LEARNER),
)
"""keys that do not change what is learned (beyond rounding), so that a run may go on on other machines"""
