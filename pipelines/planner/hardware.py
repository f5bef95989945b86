"""What GPUs can do, from their makers' data sheets, and what part of it programs like these reach."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Gpu:
    """One kind of GPU."""

    name: str
    flops: float
    """bfloat16 operations per second, dense"""
    memory_bytes: float
    bandwidth: float
    """bytes per second of its own memory"""


# NVIDIA's data sheets: H100 SXM5, H200 SXM, A100 SXM4 80 GB, L40S. Where a sheet gives FLOP/s with sparsity, this is half of it.
GPUS = {
    gpu.name: gpu
    for gpu in (
        Gpu("h100", 989e12, 80e9, 3.35e12),
        Gpu("h200", 989e12, 141e9, 4.8e12),
        Gpu("a100", 312e12, 80e9, 2.04e12),
        Gpu("l40s", 362e12, 48e9, 0.864e12),
    )
}


@dataclass(frozen=True, slots=True)
class Reached:
    """The parts of a data sheet that programs reach, and fixed costs. All of them are assumptions: none was measured on GPUs."""

    decode_bandwidth: float = 0.6
    decode_flops: float = 0.4
    prefill_flops: float = 0.5
    learner_flops: float = 0.35
    engine_step_s: float = 0.004
    """of an engine step besides the GPU's work: scheduling and sampling"""
    hop_s: float = 0.003
    """of a call's way between two actors, there and back"""
    network: float = 25e9
    """bytes per second between two nodes, for each GPU"""
    answer_grading_s: float = 0.005
    """of one answer in one grading process"""


ASSUMED = Reached()
