"""The one place that knows CPU from GPU: process environments, collective back end, resources per process."""

from __future__ import annotations

import os
from collections.abc import Set
from enum import StrEnum


class Device(StrEnum):
    """What engines and learner ranks run on."""

    CPU = "cpu"
    GPU = "gpu"

    @property
    def collective_backend(self) -> str:
        """Return the torch.distributed back end of the learner ranks."""
        return "gloo" if self is Device.CPU else "nccl"

    @property
    def torch_name(self) -> str:
        """Return what torch calls it."""
        return "cpu" if self is Device.CPU else "cuda"

    @property
    def engines_can_sleep(self) -> bool:
        """Return whether a vLLM engine can give its memory back and take it again; on the CPU vLLM refuses to."""
        return self is Device.GPU


class WeightBackend(StrEnum):
    """What carries weights from the learner to the engines; the GPU ones by their names in vLLM."""

    SHARED_MEMORY = "shared_memory"
    NCCL = "nccl"
    CUDA_IPC = "ipc"


def own_gpus() -> set[str]:
    """Return the GPUs that Ray gave to this actor, each named by node and number."""
    import ray

    context = ray.get_runtime_context()
    return {f"{context.get_node_id()}/{number}" for number in context.get_accelerator_ids().get("GPU", [])}


def weight_backend(learner_gpus: Set[str], engine_gpus: Set[str]) -> WeightBackend:
    """Return what carries weights between GPUs that are named as by `own_gpus`.

    CUDA IPC hands memory to a process on the same GPU. NCCL refuses two ranks on one GPU, so where only some are shared
    the weights go through host memory.
    """
    if engine_gpus and engine_gpus <= learner_gpus:
        return WeightBackend.CUDA_IPC
    if learner_gpus and engine_gpus and not engine_gpus & learner_gpus:
        return WeightBackend.NCCL
    return WeightBackend.SHARED_MEMORY


def common_environment(threads: int) -> dict[str, str]:
    """Return what every actor process gets: bounded threads that sleep when idle, no telemetry."""
    return {
        "OMP_NUM_THREADS": str(threads),
        "OMP_WAIT_POLICY": "PASSIVE",
        "TOKENIZERS_PARALLELISM": "false",
        "VLLM_NO_USAGE_STATS": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
    }


def engine_environment(device: Device, threads: int) -> dict[str, str]:
    """Return the environment of an actor that holds a vLLM engine.

    On the CPU the engine core runs inside the actor (no second process on few cores), OpenMP threads are not pinned
    (pinned and spinning threads of two engines on one core stall each other) and nothing is compiled. On GPUs the
    engine core has a process of its own, so that scheduling never waits for Python in the actor.
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
    """Have an engine on the CPU go by its settings: vLLM prefers this variable, which the user may have for other uses."""
    os.environ.pop("VLLM_CPU_KVCACHE_SPACE", None)


def learner_environment(device: Device, threads: int) -> dict[str, str]:
    """Return the environment of a learner rank."""
    common = common_environment(threads)
    if device is Device.GPU:
        return common
    return common | {"DS_ACCELERATOR": "cpu", "CUDA_VISIBLE_DEVICES": ""}
