"""Moves the learner's GPU memory to the host and back, for GPUs that learner and engines use in turn."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from deepspeed import DeepSpeedEngine


def move_to_host(engine: DeepSpeedEngine, keep_weights: bool) -> None:
    """Move optimizer states, float32 weights and gradients to the host. Unless `keep_weights`, the model's weights move too.

    Works with ZeRO stages 1 and 2 only: they can export, hand out and save a state that is on the host.
    """
    from deepspeed.runtime.zero.offload_config import OffloadStateTypeEnum as State

    states = [State.optim_states, State.hp_params, State.lp_grads]
    engine.offload_states(include=states if keep_weights else [*states, State.lp_params])


def move_back(engine: DeepSpeedEngine) -> None:
    """Undo `move_to_host`."""
    engine.reload_states()
