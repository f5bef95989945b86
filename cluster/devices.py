"""All differences between CPU and GPU in one place: process environments, collective back ends, weight transfer."""

from __future__ import annotations

import os
from collections.abc import Set
from enum import StrEnum


class Device(StrEnum):
    """The kind of device that engines and learner ranks run on."""

    CPU = "cpu"
    GPU = "gpu"

    @property
    def collective_backend(self) -> str:
        """The torch.distributed back end of the learner ranks."""
        return "gloo" if self is Device.CPU else "nccl"

    @property
    def torch_name(self) -> str:
        """Torch's name of the device."""
        return "cpu" if self is Device.CPU else "cuda"

    @property
    def engines_can_sleep(self) -> bool:
        """Whether a vLLM engine can free its memory and take it back. vLLM does not support this on the CPU."""
        return self is Device.GPU


class WeightBackend(StrEnum):
    """What carries weights from the learner to the engines. The values for GPUs are vLLM's names."""

    SHARED_MEMORY = "shared_memory"
    NCCL = "nccl"
    CUDA_IPC = "ipc"


def own_gpus() -> set[str]:
    """Return the GPUs that Ray gave to this actor, each named by node and number."""
    import ray

    context = ray.get_runtime_context()
    return {f"{context.get_node_id()}/{number}" for number in context.get_accelerator_ids().get("GPU", [])}


def weight_backend(learner_gpus: Set[str], engine_gpus: Set[str]) -> WeightBackend:
    """Return what carries weights from the learner's GPUs to the engines' GPUs, both named as by `own_gpus`.

    If the learner has a rank on every GPU of the engines, CUDA IPC passes memory within each GPU. If they share no GPU,
    NCCL sends the weights. If they share only some, the weights go through host memory, because NCCL refuses two ranks on one
    GPU.
    """
    if engine_gpus and engine_gpus <= learner_gpus:
        return WeightBackend.CUDA_IPC
    if learner_gpus and engine_gpus and not engine_gpus & learner_gpus:
        return WeightBackend.NCCL
    return WeightBackend.SHARED_MEMORY


def common_environment(threads: int) -> dict[str, str]:
    """Return the environment of every actor process: a bounded number of threads, which sleep when idle, and no telemetry."""
    return {
        "OMP_NUM_THREADS": str(threads),
        "OMP_WAIT_POLICY": "PASSIVE",
        "TOKENIZERS_PARALLELISM": "false",
        "VLLM_NO_USAGE_STATS": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
    }


def engine_environment(device: Device, threads: int) -> dict[str, str]:
    """Return the environment of an actor that holds a vLLM engine.

    On the CPU, the engine core runs inside the actor, because there are few cores for a second process. OpenMP threads are
    not pinned, because pinned threads of two engines on one core stall each other. Nothing is compiled. On GPUs, the engine
    core has a process of its own, so that scheduling never waits for Python in the actor.
    """
    common = common_environment(threads) | {"VLLM_LOGGING_LEVEL": "ERROR"}
    if device is Device.GPU:
        return common | {"VLLM_ENABLE_V1_MULTIPROCESSING": "1"}
    return common | {
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",
        "TORCH_COMPILE_DISABLE": "1",
        "CUDA_VISIBLE_DEVICES": "",
    }


def forget_kv_cache_variable() -> None:
    """Unset VLLM_CPU_KVCACHE_SPACE, because vLLM prefers it to the engine's settings. The user may have set it for other uses."""
    os.environ.pop("VLLM_CPU_KVCACHE_SPACE", None)


def learner_environment(device: Device, threads: int) -> dict[str, str]:
    """Return the environment of a learner rank."""
    common = common_environment(threads)
    if device is Device.GPU:
        return common
    return common | {"DS_ACCELERATOR": "cpu", "CUDA_VISIBLE_DEVICES": ""}
