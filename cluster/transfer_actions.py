"""What the learner tells the engines in a weight transfer from GPU to GPU, in this order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from cluster.devices import WeightBackend
from cluster.weight_transport import InFlight


@dataclass(frozen=True, slots=True)
class Join:
    """Leave any earlier transfer, and join the learner's. Done when the learner has joined too."""

    backend: WeightBackend
    init_info: dict[str, Any]
    """as vLLM's transfer engine of this backend takes it"""


@dataclass(frozen=True, slots=True)
class Begin:
    """Stop writing until `End`, because the learner is about to send weights."""

    in_flight: InFlight


@dataclass(frozen=True, slots=True)
class Receive:
    """Receive weights while the learner sends them."""

    update_info: dict[str, Any] | list[dict[str, Any]]
    """as vLLM's transfer engine takes it"""


@dataclass(frozen=True, slots=True)
class End:
    """Continue with the received weights as policy `version`."""

    version: int


TransferAction = Join | Begin | Receive | End
