"""Measures the peak memory of the LM head's loss and gradient for growing vocabularies. It runs as a process of its own."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, dataclass

import torch

from actors.learner.logprobs import Chunking, target_loss
from benchmarks.learning.memory import PeakMemory

MIB = 2**20


@dataclass(frozen=True, slots=True)
class HeadMemory:
    """Peak memory of one forward and backward pass over the head."""

    vocabulary: int
    activation_bytes: int
    """peak without the weight, and without the float32 matrix of its size that becomes its gradient"""
    dense_bytes: int
    """size of the float32 logits of all positions"""


def measure(vocabulary: int, positions: int, width: int, chunk_mib: int, device: str) -> HeadMemory:
    """Return the memory of loss and gradient for `positions` targets under a head [vocabulary, width].

    Chunks have up to `chunk_mib` MiB of logits.
    """
    weight = torch.randn(vocabulary, width, device=device).mul_(0.02).requires_grad_()
    hidden = torch.randn(positions, width, device=device, requires_grad=True)
    targets = torch.randint(0, vocabulary, (positions,), device=device)
    chunking = Chunking(tokens=positions, logits_bytes=chunk_mib * MIB)
    memory = PeakMemory(device)
    loss, *_ = target_loss(hidden, weight, targets, 1.0, chunking, lambda logprobs, _: -logprobs.sum(), True)
    loss.backward()
    return HeadMemory(vocabulary, memory.bytes() - 4 * weight.numel(), 4 * positions * vocabulary)


def main() -> None:
    """Measure each vocabulary of the order that is given as JSON. A first measurement warms up libraries and does not count."""
    order = json.loads(sys.argv[1])
    torch.set_num_threads(order["threads"])
    vocabularies = order["vocabularies"]
    arguments = order["positions"], order["width"], order["chunk_mib"], order["device"]
    measured = [measure(vocabulary, *arguments) for vocabulary in (vocabularies[0], *vocabularies)]
    print(json.dumps([asdict(one) for one in measured[1:]]))


if __name__ == "__main__":
    main()
