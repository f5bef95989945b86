"""Sampling seeds: each turn's random numbers follow from the run's seed and from what is decoded, not from when."""

from __future__ import annotations

import hashlib


def derived_seed(*parts: int | str) -> int:
    """Return the seed, 0 <= seed < 2**63, that belongs to these parts: the same in every process."""
    digest = hashlib.blake2b("/".join(map(str, parts)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1
