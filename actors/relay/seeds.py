"""Sampling seeds: each turn's random numbers depend on the run's seed and on what is decoded, but not on when."""

from __future__ import annotations

import hashlib


def derived_seed(*parts: int | str) -> int:
    """Return a seed with 0 <= seed < 2**63, derived from these parts. It is the same in every process."""
    digest = hashlib.blake2b("/".join(map(str, parts)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1
