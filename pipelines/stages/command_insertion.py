"""Warm-up data: commands inserted at random places of the student's own samples (paper section 2.2)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random

from actors.relay.grammar import command_text
from pipelines.experiment.stages import WarmupSettings


def insert_commands(
    output_ids: Sequence[int], settings: WarmupSettings, encode: Callable[[str], list[int]], random: Random
) -> list[int]:
    """Return the sample with commands at uniformly drawn token positions.

    Each command asks for n = d * 10^k tokens, but at most for the tokens that follow it. So no command is at the very end.
    """
    count = min(random.randint(*settings.commands), len(output_ids))
    places = sorted(random.sample(range(len(output_ids)), count))
    written: list[int] = []
    for start, end in zip([0, *places], [*places, len(output_ids)], strict=True):
        written += output_ids[start:end]
        if end < len(output_ids):
            asked = random.randint(*settings.digits) * 10 ** random.randint(*settings.exponents)
            written += encode(command_text(min(asked, len(output_ids) - end)))
    return written
