"""What workers are given to decode."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import ray
from ray.exceptions import RayError

_FETCH_S = 2.0


class Order(Protocol):
    """Some prompts to decode: a `RolloutOrder` or a `CiterOrder`."""

    @property
    def prompts(self) -> Sequence[object]: ...

    @property
    def samples(self) -> int: ...

    def at_version(self, version: int) -> Order: ...


def is_decoded(batch: ray.ObjectRef[Any]) -> bool:
    """Return whether a batch was decoded, even if its grading failed."""
    if not ray.wait([batch], timeout=0, fetch_local=False)[0]:
        return False
    try:
        ray.get(batch, timeout=_FETCH_S)
    except RayError:
        return False
    return True
