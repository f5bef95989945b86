"""The experiment schema: one YAML file is one run."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

from pydantic import Field, model_validator

from actors.citer.settings import CiterSettings
from actors.grading import GradingSettings
from actors.rollout import Policy
from actors.settings import LearnerSettings, RelayLimits
from cluster.devices import Device
from cluster.metrics.publisher import Publishing
from cluster.placement import Bundle, Near, total
from cluster.settings import HomePath, PathOrUrl, Seed, Settings
from cluster.store.urls import is_url, working_copy
from pipelines.data.settings import DataSettings
from pipelines.experiment.alarms import AlarmSettings
from pipelines.experiment.colocation import misfits
from pipelines.experiment.errors import ConfigError
from pipelines.experiment.machines import ClusterSettings, RolloutSettings, TeacherSettings
from pipelines.experiment.models import ModelsSettings
from pipelines.experiment.stages import EvaluationSettings, FilterSettings, GrpoSettings, WarmupSettings
from pipelines.experiment.tracking import TrackingSettings
from rewards.schemes import RewardSettings

_ONLY_ON_GPUS = {
    "liger_kernels": "they are Triton kernels for GPUs",
    "offload_optimizer": "the optimizer is on the host already",
}


class Experiment(Settings):
    """One run."""

    name: str = Field(max_length=200, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", description="what the run is called")
    seed: Seed = Field(0, description="of all that is drawn at random in the run")
    run_dir: PathOrUrl | None = Field(
        None,
        description="folder of all that the run writes, or a URL such as s3://bucket/runs/demo; runs/<name> if empty",
    )
    share_dir: HomePath | None = Field(
        None,
        description="folder where runs share finished stages; a run uses a stage from it if all settings that the stage "
        "depends on are equal; if empty, each run does all its stages itself",
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
    def url(self) -> str | None:
        """The URL where the run is kept; None if it is kept in a folder."""
        return self.run_dir if self.run_dir is not None and is_url(self.run_dir) else None

    @property
    def directory(self) -> Path:
        """The folder in which this machine does the run: of a run at a URL, its working copy."""
        if self.url is not None:
            return working_copy(self.url)
        return Path(self.run_dir) if self.run_dir else Path("runs") / self.name

    @property
    def place(self) -> str:
        """Where the run is kept: a folder or a URL."""
        return self.url or str(self.directory)

    @property
    def namespace(self) -> str:
        """The Ray namespace of the run's named actors."""
        return f"relay-{self.name}"

    def publishing(self, actor: str) -> Publishing | None:
        """Return what an actor, or the driver, needs to publish its metrics; None if none are published."""
        every_s = self.cluster.metrics_every_s
        return None if every_s is None else Publishing(self.name, actor, every_s)

    @property
    def seeded_sampling(self) -> bool:
        """Whether each turn is sampled with its own seed. On GPUs this is slow: vLLM samples such requests one by one."""
        chosen = self.rollout.seeded_sampling
        return self.cluster.device is Device.CPU if chosen is None else chosen

    @property
    def teachers(self) -> tuple[str, ...]:
        """The names of the teacher's actors; none if a server has the teacher."""
        if self.models.teacher.endpoint is not None:
            return ()
        count = self.teacher.replicas
        return ("teacher",) if count == 1 else tuple(f"teacher-{i}" for i in range(count))

    @property
    def alarms_in_force(self) -> AlarmSettings:
        """The alarms' thresholds. The alarms on the share of answers with a call are off if training allows no calls."""
        if self.grpo.limits.max_calls:
            return self.alarms
        return self.alarms.model_copy(update={"calls_vanish": None, "calls_everywhere": None})

    @property
    def trains(self) -> bool:
        """Whether the student is trained."""
        return self.warmup.enabled or self.grpo.enabled

    @property
    def colocated(self) -> bool:
        """Whether engines and learner use the same GPUs in turn. False if nothing is trained."""
        return self.cluster.colocate and self.trains

    @property
    def filters(self) -> bool:
        """Whether training problems are filtered. False if no stage uses them."""
        warms_up_on_them = self.warmup.enabled and not self.data.warmup
        return self.filter.enabled and (self.grpo.enabled or self.citer.enabled or warms_up_on_them)

    def longest_prompt(self, limits: RelayLimits) -> int:
        """Return how many tokens a prompt may have to leave room for `limits.max_new_tokens` in both models' contexts."""
        return min(self.rollout.engine.max_model_len, self.teacher.engine.max_model_len) - limits.max_new_tokens

    def evaluated_after_warmup(self) -> tuple[Policy, ...]:
        """Return the policies that are evaluated after the warm-up."""
        if self.evaluation.warmup is not None:
            return self.evaluation.warmup
        return (Policy.STUDENT, Policy.RELAY) if self.warmup.enabled else ()

    @property
    def grpo_steps(self) -> int:
        """GRPO steps of the whole run: 0 without GRPO, and while `grpo.epochs` stands for steps that are not known yet."""
        return (self.grpo.steps or 0) if self.grpo.enabled else 0

    def with_steps_for(self, problems: int) -> Experiment:
        """Return the experiment with `grpo.steps` in place of `grpo.epochs`, for so many filtered training problems.

        Only whole steps count, and there is at least one. Raises `ConfigError` if there are too many.
        """
        if self.grpo.epochs is None:
            return self
        # Not in binary fractions, where 0.29 times 100 is a little less than 29.
        steps = max(int(Fraction(str(self.grpo.epochs)) * problems / self.grpo.prompts_per_step), 1)
        if steps > (most := self.grpo.most_steps):
            fewer = most * self.grpo.prompts_per_step // problems
            right = f"should be at most {fewer} with {problems} filtered training problems: {steps} steps are more than {most}"
            raise ConfigError([f"grpo.epochs ({self.grpo.epochs:g}) {right}"])
        grpo = self.grpo.model_copy(update={"steps": steps, "epochs": None})
        return self.model_copy(update={"grpo": grpo})

    def with_final_teacher(self) -> Experiment:
        """Return the experiment as the final evaluation sees it: with that evaluation's teacher."""
        if self.evaluation.teacher is None:
            return self
        models = self.models.model_copy(update={"teacher": self.evaluation.teacher})
        return self.model_copy(update={"models": models})

    def bundles(self) -> list[Bundle]:
        """Return what each actor needs that the run begins with, the teachers first."""
        cpus, on_gpu, gpus = self.cluster.cpus_per_actor, self.cluster.device is Device.GPU, self.cluster.gpus
        return [
            *(
                Bundle(name, cpus, gpus.teacher * self.teacher.engine.tensor_parallel * on_gpu)
                for name in self.teachers
            ),
            *(self._worker(i) for i in range(self.rollout.first_workers)),
            *([Bundle("citer", cpus, gpus.citer * on_gpu)] if self.citer.enabled else []),
            Bundle("reward", cpus, 0),
            *(
                Bundle(
                    f"learner-{i}",
                    cpus,
                    gpus.learner * on_gpu,
                    f"rollout-{i}" if self.colocated else None,
                    Near.TOGETHER,
                )
                for i in range(self.learner.ranks if self.trains else 0)
            ),
        ]

    def later_workers(self) -> list[Bundle]:
        """Return what each rollout worker needs that may join the run later. See `rollout.min_workers`."""
        return [self._worker(i) for i in range(self.rollout.first_workers, self.rollout.workers)]

    def _worker(self, number: int) -> Bundle:
        gpus = self.cluster.gpus.rollout * self.rollout.engine.tensor_parallel * (self.cluster.device is Device.GPU)
        near = Near.TOGETHER if self.colocated else Near.APART  # a worker's place is then that of a learner rank too
        return Bundle(f"rollout-{number}", self.cluster.cpus_per_actor, gpus, near=near)

    def resources(self) -> tuple[float, float]:
        """Return the CPUs and GPUs that the run begins with at a time, whichever of its teachers is there."""
        needs = [total(one.bundles()) for one in (self, self.with_final_teacher())]
        return max(cpus for cpus, _ in needs), max(gpus for _, gpus in needs)

    @model_validator(mode="after")
    def _teachers_on_servers(self) -> Experiment:
        served = [
            self.models.teacher.endpoint is not None,
            self.with_final_teacher().models.teacher.endpoint is not None,
        ]
        if all(served) and self.teacher.replicas > 1:
            raise ValueError(
                f"teacher.replicas ({self.teacher.replicas}) should be 1 with models.teacher.url: the run starts no teacher, and "
                "its server decides how many it has"
            )
        if self.citer.enabled and served[0]:
            raise ValueError(
                "citer.enabled (true) should be false with models.teacher.url: CITER asks the teacher for single tokens and "
                "needs its vocabulary, which a server does not guarantee; give models.teacher.path"
            )
        return self

    @model_validator(mode="after")
    def _shared_stages_at_url(self) -> Experiment:
        if self.url is not None and self.share_dir is not None:
            raise ValueError(
                f"share_dir ({self.share_dir}) should be empty with a run_dir that is a URL ({self.url}): shared stages are links, "
                "which no object store has"
            )
        return self

    @model_validator(mode="after")
    def _colocation(self) -> Experiment:
        if self.colocated and (
            found := "; ".join(misfits(self.cluster, self.rollout, self.learner, self.grpo, self.citer))
        ):
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
                    f"cluster.gpus.{name} ({share:g}) should be 1: an engine over {engine.tensor_parallel} GPUs cannot share them"
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
                "of a step's micro-batches in bfloat16, where small ones are lost by rounding"
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
    def _workers_can_join(self) -> Experiment:
        least, workers = self.rollout.min_workers, self.rollout.workers
        if least is None or least == workers:
            return self
        key = f"rollout.min_workers ({least}) should be"
        if least > workers:
            raise ValueError(f"{key} at most rollout.workers ({workers})")
        if self.colocated:
            raise ValueError(f"{key} empty with cluster.colocate: each worker shares its GPU with a learner rank")
        if self.cluster.device is Device.GPU and self.cluster.gpus.rollout < 1:
            raise ValueError(
                f"{key} empty with cluster.gpus.rollout ({self.cluster.gpus.rollout:g}) below 1: an engine that starts beside "
                "another one on its GPU would count that one's memory as free"
            )
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
            for engine, room in (
                ("rollout.engine", self.rollout.engine.max_model_len),
                ("teacher.engine", self.teacher.engine.max_model_len),
            ):
                if limits.max_new_tokens >= room:
                    raise ValueError(
                        f"{where}.max_new_tokens ({limits.max_new_tokens}) should be below {engine}.max_model_len ({room}), "
                        "which holds the prompt too"
                    )
        penalised, most = self.reward.overlong_tokens, self.grpo.limits.max_new_tokens
        if self.grpo.enabled and penalised >= most:
            raise ValueError(
                f"reward.overlong_tokens ({penalised}) should be below grpo.limits.max_new_tokens ({most}): else every answer "
                "is penalised"
            )
        return self
