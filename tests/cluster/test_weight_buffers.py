"""Buffers of a weight transfer: vLLM's own code fits in what is stated."""

import pytest
import torch

from cluster.devices import WeightBackend
from cluster.weight_buffers import PACKED_BYTES, ipc_buffer_bytes, transfer_bytes

MIB = 2**20
QWEN3_8B_EMBEDDING = 151_936 * 4096 * 2


def test_the_embedding_of_a_large_model_fits_in_the_ipc_buffer() -> None:
    assert ipc_buffer_bytes(QWEN3_8B_EMBEDDING) == QWEN3_8B_EMBEDDING > 2**30
    assert ipc_buffer_bytes(MIB) == PACKED_BYTES


def test_what_a_transfer_takes_is_stated_by_the_backend() -> None:
    assert transfer_bytes(WeightBackend.SHARED_MEMORY, MIB) == 0
    assert transfer_bytes(WeightBackend.CUDA_IPC, MIB) == PACKED_BYTES + MIB
    assert transfer_bytes(WeightBackend.NCCL, MIB) == 3 * (PACKED_BYTES + MIB)


@pytest.mark.parametrize("largest", [100, 1000])
def test_vllm_packs_no_more_into_a_buffer_than_one_parameter_too_much(largest: int) -> None:
    from vllm.distributed.weight_transfer.packed_tensor import pack_tensors

    parameters = iter([(str(i), torch.zeros(largest, dtype=torch.uint8)) for i in range(50)])
    while (chunk := pack_tensors(parameters, lambda item: item[1], buffer_size_bytes=950)) is not None:
        assert chunk.packed_tensor.numel() <= 950 + largest
