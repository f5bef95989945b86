"""What workers are given to decode."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol


class Order(Protocol):
    """Some prompts to decode: a `RolloutOrder` or a `CiterOrder`."""

    @property
    def prompts(self) -> Sequence[object]: ...

    @property
    def samples(self) -> int: ...

    def at_version(self, version: int) -> Order: ...
