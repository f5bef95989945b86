"""How much GPU memory a weight transfer takes beside the weights: the buffers of vLLM's transfer engines."""

from __future__ import annotations

from cluster.devices import WeightBackend

PACKED_BYTES = 128 * 2**20
"""what a buffer is filled to; vLLM's default of 1 GiB has no room beside an engine that reserves nine tenths of its GPU"""
NCCL_BUFFERS = 2
"""one is received while the one before it is loaded"""


def ipc_buffer_bytes(largest_parameter_bytes: int) -> int:
    """Return the size of the one buffer of CUDA IPC, which refuses a parameter that is larger."""
    return max(PACKED_BYTES, largest_parameter_bytes)


def transfer_bytes(backend: WeightBackend, largest_parameter_bytes: int) -> int:
    """Return an upper bound of the GPU memory that a transfer takes on each GPU beside the weights, without NCCL's own.

    By `vllm/distributed/weight_transfer/packed_tensor.py`: an NCCL buffer is closed by the parameter that overfills it,
    and the next one is allocated before the oldest is freed. CUDA IPC copies each parameter into one buffer, which engine
    and learner share.
    """
    if backend is WeightBackend.NCCL:
        return (NCCL_BUFFERS + 1) * (PACKED_BYTES + largest_parameter_bytes)
    if backend is WeightBackend.CUDA_IPC:
        return ipc_buffer_bytes(largest_parameter_bytes) + largest_parameter_bytes
    return 0
