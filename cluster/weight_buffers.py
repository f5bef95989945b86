"""The GPU memory that a weight transfer takes in addition to the weights: the buffers of vLLM's transfer engines."""

from __future__ import annotations

from cluster.devices import WeightBackend

PACKED_BYTES = 128 * 2**20
"""size of a buffer; vLLM's default of 1 GiB does not fit on a GPU of which an engine reserves nine tenths"""
NCCL_BUFFERS = 2
"""number of buffers; one is received while the one before it is loaded"""


def ipc_buffer_bytes(largest_parameter_bytes: int) -> int:
    """Return the size of the buffer of CUDA IPC, in bytes. It must hold the largest parameter."""
    return max(PACKED_BYTES, largest_parameter_bytes)


def transfer_bytes(backend: WeightBackend, largest_parameter_bytes: int) -> int:
    """Return an upper bound of the bytes that a transfer takes on each GPU in addition to the weights, without NCCL's own memory.

    It follows from `vllm/distributed/weight_transfer/packed_tensor.py`. With NCCL, a buffer may exceed its size by the
    parameter that fills it, and the next buffer is allocated before the oldest is freed. With CUDA IPC, each parameter is
    copied into one buffer, which engine and learner share.
    """
    if backend is WeightBackend.NCCL:
        return (NCCL_BUFFERS + 1) * (PACKED_BYTES + largest_parameter_bytes)
    if backend is WeightBackend.CUDA_IPC:
        return ipc_buffer_bytes(largest_parameter_bytes) + largest_parameter_bytes
    return 0
