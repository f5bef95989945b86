"""The learner's memory on a GPU that engines have in turn: in host memory while they write."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from deepspeed import DeepSpeedEngine


def move_to_host(engine: DeepSpeedEngine, keep_weights: bool) -> None:
    """Move optimizer states, float32 weights and gradients to the host, and the weights too unless they are kept.

    ZeRO 1 and 2 only, which go on to export, hand out and save what is on the host.
    """
    from deepspeed.runtime.zero.offload_config import OffloadStateTypeEnum as State

    states = [State.optim_states, State.hp_params, State.lp_grads]
    engine.offload_states(include=states if keep_weights else [*states, State.lp_params])


def move_back(engine: DeepSpeedEngine) -> None:
    """Undo `move_to_host`."""
    engine.reload_states()
