"""The parts of weights and Adam's moments that a rank holds, whatever the ZeRO stage: each is a range of one parameter."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

if TYPE_CHECKING:
    from deepspeed import DeepSpeedEngine

WEIGHT, MOMENTS = "weight", ("exp_avg", "exp_avg_sq")


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """The elements [start, start + n) of a parameter, flat. The tensors [n] float32 are the optimizer's own memory."""

    parameter: str
    start: int
    tensors: dict[str, Tensor]
    """by kind: the weight, and Adam's moments"""


def own_parts(engine: DeepSpeedEngine) -> list[Part]:
    """Return this rank's parts. Those of all ranks together are every parameter; without ZeRO, each rank has all of them."""
    _make_missing_states(engine)
    if engine.zero_optimization_stage() in (1, 2):
        engine.optimizer._link_all_hp_params()  # DeepSpeed forgets the places when the weights move to the host
    weights, states = _weights(engine), _adam(engine).state
    parts = []
    for number, (name, parameter) in enumerate(engine.module.model.named_parameters()):
        if (place := _place(engine, number, parameter)) is None:
            continue
        weight = weights[place.weight]
        kinds = {WEIGHT: weight.data} | {kind: states[weight][kind] for kind in MOMENTS}
        tensors = {kind: tensor.view(-1).narrow(0, place.begin, place.elements) for kind, tensor in kinds.items()}
        parts.append(Part(name, place.start, tensors))
    return parts


def adam_steps(engine: DeepSpeedEngine) -> int:
    """Return how many steps Adam has taken."""
    return max((int(state["step"]) for state in _adam(engine).state.values()), default=0)


def set_adam_steps(engine: DeepSpeedEngine, steps: int) -> None:
    """Set how many steps Adam has taken, on which the correction of its moments depends."""
    for state in _adam(engine).state.values():
        state["step"].fill_(steps)


@torch.no_grad()
def set_weight(parameter: Tensor, value: Tensor | None) -> None:
    """Set the parameter that the model computes with to `value`, of its shape. Call it on all ranks.

    With ZeRO stage 3 only rank 0 needs the value.
    """
    import deepspeed

    with deepspeed.zero.GatheredParameters([parameter], modifier_rank=0, enabled=is_partitioned(parameter)):
        if value is not None:
            parameter.data.copy_(value)


def is_partitioned(parameter: Tensor) -> bool:
    """Return whether each rank has only a part of the parameter, as with ZeRO stage 3."""
    return hasattr(parameter, "ds_id")


class _Place(NamedTuple):
    """Where this rank holds a part of a parameter."""

    weight: int
    """which of `_weights`"""
    begin: int
    """where the part begins in that tensor"""
    start: int
    """where it begins in the parameter"""
    elements: int


def _place(engine: DeepSpeedEngine, number: int, parameter: Any) -> _Place | None:
    """Return where this rank holds a part of the model's parameter of this number; None if it holds none."""
    if is_partitioned(parameter):  # equal parts, the last one with padding
        weight, begin, elements = engine.optimizer.grad_position[engine.optimizer.get_param_id(parameter)]
        start = engine.global_rank * elements
        left = min(elements, parameter.ds_numel - start)
        return _Place(weight, begin, start, left) if left > 0 else None
    if engine.zero_optimization_stage() in (1, 2):
        if (mapping := parameter._hp_mapping) is None:
            return None
        inside = mapping.get_hp_fragment_address()
        return _Place(mapping.param_group_index, inside.start, mapping.lp_fragment_address.start, inside.numel)
    return _Place(number, 0, 0, parameter.numel())


def _weights(engine: DeepSpeedEngine) -> list[Tensor]:
    """Return the float32 tensors that Adam updates on this rank; without ZeRO, one for each of the model's parameters."""
    if engine.zero_optimization_stage() == 3:  # Adam's own list changes during a step
        return list(engine.optimizer.fp32_partitioned_groups_flat)
    return [weight for group in _adam(engine).param_groups for weight in group["params"]]


def _adam(engine: DeepSpeedEngine) -> torch.optim.Optimizer:
    adam: torch.optim.Optimizer = engine.basic_optimizer
    return adam


def _make_missing_states(engine: DeepSpeedEngine) -> None:
    """Make Adam's states as they are before the first step, where there are none yet."""
    states = _adam(engine).state
    for weight in _weights(engine):
        if not states.get(weight):
            states[weight] = {"step": torch.zeros((), dtype=torch.float32, device=weight.device)}
            states[weight] |= {kind: torch.zeros_like(weight.data) for kind in MOMENTS}
