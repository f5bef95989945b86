"""Estimates how much host and GPU memory each process of a run needs, part by part.

The constants were measured with the demo on two cores (`docs/performance.md` compares estimates with measured sizes).
The constants of processes on GPUs are assumptions: no GPU was there to measure them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field

from actors.settings import EngineSettings
from cluster.devices import Device, WeightBackend
from cluster.weight_buffers import transfer_bytes
from pipelines.experiment.models import ModelSettings
from pipelines.experiment.schema import Experiment
from pipelines.memory.model_size import ModelSize, model_size

GB = 10**9
LIBRARIES = {"engine": 1.4 * GB, "learner": 0.65 * GB, "citer": 0.65 * GB, "reward": 0.2 * GB, "driver": 0.65 * GB}
"""interpreter and libraries of one process on the CPU, measured"""
RAY = 0.8 * GB
"""Ray's own processes on the first node"""
GPU_LIBRARIES = {"engine": 6.0 * GB, "learner": 4.0 * GB, "citer": 3.0 * GB}
"""host memory for the libraries of a process that uses a GPU, assumed; an engine has two processes"""
CUDA_CONTEXT = 0.6 * GB

_BYTES = {"float32": 4, "bfloat16": 2}
_COUNTS = {"teacher": "teacher.replicas", "rollout": "rollout.workers"}
"""how many engines each role has"""
_BATCHED_TOKENS = 4096
"""most tokens of one engine step, for the estimate of activations"""


@dataclass(frozen=True, slots=True)
class RoleMemory:
    """The memory of one actor, or of a number of equal ones, by part and in bytes."""

    role: str
    count: int
    host: dict[str, float]
    gpu: dict[str, float] = field(default_factory=dict)
    """bytes by part on each of its GPUs; empty without a GPU"""
    known: bool = True
    """false if the size of its model is not known: then the model's parts are missing or 0"""
    host_keys: tuple[str, ...] = ()
    """keys to change for less host memory, the most effective first"""
    gpu_keys: tuple[str, ...] = ()

    @property
    def host_each(self) -> float:
        return sum(self.host.values())

    @property
    def host_all(self) -> float:
        return self.host_each * self.count

    @property
    def gpu_each(self) -> float:
        return sum(self.gpu.values())


def memory_of(
    experiment: Experiment,
    parts: Collection[str] = ("learner", "citer"),
    size_of: Callable[[ModelSettings], ModelSize | None] = model_size,
) -> list[RoleMemory]:
    """Return the memory of every process of the run. `parts` are its optional actors, and `size_of` knows its models' sizes."""
    student = size_of(experiment.models.student)
    chosen = (experiment.models.teacher, experiment.with_final_teacher().models.teacher)
    teachers = [size_of(teacher) for teacher in chosen if teacher.endpoint is None]
    known = [teacher for teacher in teachers if teacher is not None]
    teacher = max(known, key=lambda size: size.parameters) if known and len(known) == len(teachers) else None
    replicas = experiment.teacher.replicas
    roles = [
        *([_engine("teacher", replicas, experiment, experiment.teacher.engine, teacher)] if teachers else []),
        _engine("rollout", experiment.rollout.first_workers, experiment, experiment.rollout.engine, student),
        RoleMemory("reward", 1, {"libraries": LIBRARIES["reward"] * (1 + 0.5 * experiment.grading.workers)}),
    ]
    if "learner" in parts and experiment.trains:
        roles.append(_learner(experiment, student))
        if student is not None:
            # It holds the old weights until all workers have the new ones.
            copies = 2.0 * student.parameters * _BYTES[experiment.learner.dtype]
            roles.append(RoleMemory("object store", 1, {"weights": copies}))
    if "citer" in parts and experiment.citer.enabled:
        roles.append(_citer(experiment, student))
    return [*roles, RoleMemory("driver and Ray", 1, {"libraries": LIBRARIES["driver"] + RAY})]


def _engine(
    role: str, count: int, experiment: Experiment, settings: EngineSettings, model: ModelSize | None
) -> RoleMemory:
    bytes_each = _BYTES[settings.dtype]
    weights = 0.0 if model is None else float(model.parameters * bytes_each)
    work = 0.0 if model is None else _engine_work(model, settings, bytes_each)
    smaller = f"a smaller models.{'teacher' if role == 'teacher' else 'student'}"
    if experiment.cluster.device is Device.CPU:
        host = {
            "weights": weights,
            "KV cache": settings.kv_cache_gib * 2**30,
            "activations": work,
            "libraries": LIBRARIES["engine"],
        }
        keys = (f"{role}.engine.kv_cache_gib", f"{role}.engine.max_num_seqs", f"{role}.engine.dtype=bfloat16", smaller)
        fewer = (_COUNTS[role],) if count > 1 else ()
        return RoleMemory(role, count, host, known=model is not None, host_keys=(*fewer, *keys))
    host = {"libraries": GPU_LIBRARIES["engine"]}
    if experiment.colocated and role == "teacher" and experiment.cluster.gpus.teacher < 1:
        host["weights asleep"] = weights
    parts = settings.tensor_parallel
    kv_cache = 0.0 if model is None else model.kv_bytes(settings.max_model_len, bytes_each) / parts
    gpu = {"weights": weights / parts, "KV cache": kv_cache, "activations": work / parts, "context": CUDA_CONTEXT}
    if role == "rollout" and experiment.trains:
        backend = WeightBackend.CUDA_IPC if experiment.colocated else WeightBackend.NCCL
        largest = 0 if model is None else model.vocabulary * model.hidden * bytes_each
        gpu["weight transfer"] = float(transfer_bytes(backend, largest))
    keys = (
        f"{role}.engine.gpu_memory_utilization",
        f"{role}.engine.max_model_len",
        f"{role}.engine.tensor_parallel",
        smaller,
    )
    fewer = (_COUNTS[role],) if count > 1 else ()
    return RoleMemory(role, count, host, gpu, model is not None, fewer, keys)


def _engine_work(model: ModelSize, settings: EngineSettings, bytes_each: int) -> float:
    """Return the memory of one step's activations, and of logits and log-probs of every sequence in float32."""
    tokens = min(_BATCHED_TOKENS, settings.max_model_len * settings.max_num_seqs)
    activations = tokens * (3 * model.intermediate + 4 * model.hidden) * bytes_each
    return float(activations + 2 * settings.max_num_seqs * model.vocabulary * 4)


def _learner(experiment: Experiment, model: ModelSize | None) -> RoleMemory:
    settings, on_gpu = experiment.learner, experiment.cluster.device is Device.GPU
    keys: tuple[str, ...] = (
        "learner.max_tokens_per_micro_batch",
        "learner.gradient_checkpointing=true",
        "learner.dtype=bfloat16",
        "grpo.loss.kl_coefficient=0 (no reference model)",
        "a smaller models.student",
    )
    states = _learner_states(experiment, model)
    libraries = {"libraries": GPU_LIBRARIES["learner"] if on_gpu else LIBRARIES["learner"]}
    if not on_gpu:
        return RoleMemory("learner", settings.ranks, states | libraries, known=model is not None, host_keys=keys)
    host = libraries
    if settings.offload_optimizer:
        host = host | {"optimizer": states.pop("optimizer")}
    if experiment.colocated:
        host = host | {"asleep": sum(states.get(part, 0.0) for part in ("weights", "optimizer", "reference"))}
    gpu = states | {"context": CUDA_CONTEXT}
    keys = ("learner.offload_optimizer=true", "learner.ranks", *keys)
    on_host = ("learner.offload_optimizer=false", "cluster.colocate=false")
    return RoleMemory("learner", settings.ranks, host, gpu, model is not None, on_host, keys)


def _learner_states(experiment: Experiment, model: ModelSize | None) -> dict[str, float]:
    """Return weights, gradients, optimizer, reference and activations of one rank."""
    if model is None:
        return {}
    settings, count = experiment.learner, float(model.parameters)
    bytes_each, ranks, stage = _BYTES[settings.dtype], settings.ranks, settings.zero_stage
    # Adam's two states in float32, and with bfloat16 or ZeRO a float32 copy of the weights.
    optimizer = count * (12 if settings.dtype == "bfloat16" else 8 if stage == 0 else 12)
    layer = (8 * model.hidden + 4 * model.intermediate) * bytes_each
    layers = (
        model.layers * model.hidden * bytes_each + layer if settings.gradient_checkpointing else model.layers * layer
    )
    logits = 2 * min(settings.logprob_chunk_mib * 2**20, settings.logprob_chunk_tokens * model.vocabulary * 4)
    states = {
        "weights": count * bytes_each / (ranks if stage == 3 else 1),
        "gradients": count * (bytes_each if stage == 0 else 4) / (ranks if stage >= 2 else 1),  # summed in float32
        "optimizer": optimizer / (ranks if stage >= 1 else 1),
        "activations": float(_tokens_at_once(experiment) * layers + logits),
    }
    if experiment.grpo.enabled and experiment.grpo.loss.kl_coefficient:
        states["reference"] = count * bytes_each
    return states


def _tokens_at_once(experiment: Experiment) -> int:
    """Return the most tokens that one packed pass can have. A pass has no more tokens than a whole step."""
    steps = [experiment.warmup.rows_per_step] if experiment.warmup.enabled else []
    if experiment.grpo.enabled:
        steps.append(experiment.grpo.prompts_per_step * experiment.grpo.group_size // experiment.grpo.mini_batches)
    longest = experiment.rollout.engine.max_model_len
    return min(
        experiment.learner.max_tokens_per_micro_batch, max(steps, default=1) * longest // experiment.learner.ranks
    )


def _citer(experiment: Experiment, model: ModelSize | None) -> RoleMemory:
    weights = 0.0 if model is None else float(model.parameters * _BYTES[experiment.rollout.engine.dtype])
    cache = 0.0
    if model is not None:
        tokens = experiment.citer.max_sequences * experiment.evaluation.limits.max_new_tokens
        cache = float(model.kv_bytes(tokens, _BYTES[experiment.rollout.engine.dtype]))
    states = {"weights": weights, "KV cache": cache}
    keys = ("citer.max_sequences", "evaluation.limits.max_new_tokens")
    if experiment.cluster.device is Device.CPU:
        return RoleMemory(
            "citer", 1, states | {"libraries": LIBRARIES["citer"]}, known=model is not None, host_keys=keys
        )
    libraries = {"libraries": GPU_LIBRARIES["citer"]}
    return RoleMemory("citer", 1, libraries, states | {"context": CUDA_CONTEXT}, model is not None, gpu_keys=keys)
