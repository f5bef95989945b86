"""The parts of weights and Adam's moments that a rank holds, whatever the ZeRO stage: each is a range of one parameter."""

from __future__ import annotations

from collections.abc import Iterator
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
    on_all_ranks: bool
    """whether every rank holds the same part"""


def own_parts(engine: DeepSpeedEngine) -> Iterator[Part]:
    """Yield this rank's parts. Those of all ranks together are every parameter."""
    _begin(engine)
    if engine.zero_optimization_stage() in (1, 2):
        engine.optimizer._link_all_hp_params()  # DeepSpeed forgets the places when the weights move to the host
    flats, states = _flat_weights(engine), _adam(engine).state
    for number, (name, parameter) in enumerate(engine.module.model.named_parameters()):
        if (place := _place(engine, number, parameter)) is None:
            continue
        flat = flats[place.flat]
        kinds = {WEIGHT: flat.data} | {kind: states[flat][kind] for kind in MOMENTS}
        tensors = {kind: tensor.view(-1).narrow(0, place.begin, place.elements) for kind, tensor in kinds.items()}
        yield Part(name, place.start, tensors, on_all_ranks=engine.zero_optimization_stage() == 0)


def adam_steps(engine: DeepSpeedEngine) -> int:
    """Return how many steps Adam has taken."""
    return max((int(state["step"]) for state in _adam(engine).state.values()), default=0)


def set_adam_steps(engine: DeepSpeedEngine, steps: int) -> None:
    """Set how many steps Adam has taken, on which the correction of its moments depends."""
    for state in _adam(engine).state.values():
        state["step"].fill_(steps)


@torch.no_grad()
def show_weight(parameter: Tensor, value: Tensor) -> None:
    """Set the parameter that the model computes with to `value`, of its shape. Call it on all ranks."""
    import deepspeed

    partitioned = hasattr(parameter, "ds_id")
    with deepspeed.zero.GatheredParameters([parameter], modifier_rank=0, enabled=partitioned):
        parameter.data.copy_(value)


class _Place(NamedTuple):
    """Where this rank holds a part of a parameter."""

    flat: int
    """which of the tensors that Adam updates"""
    begin: int
    """where the part begins in that tensor"""
    start: int
    """where it begins in the parameter"""
    elements: int


def _place(engine: DeepSpeedEngine, number: int, parameter: Any) -> _Place | None:
    """Return where this rank holds a part of the model's parameter of this number; None if it holds none."""
    if hasattr(parameter, "ds_id"):  # ZeRO stage 3: equal parts, the last one with padding
        flat, begin, elements = engine.optimizer.grad_position[engine.optimizer.get_param_id(parameter)]
        start = engine.global_rank * elements
        left = min(elements, parameter.ds_numel - start)
        return _Place(flat, begin, start, left) if left > 0 else None
    if hasattr(parameter, "_hp_mapping"):  # stages 1 and 2
        if (mapping := parameter._hp_mapping) is None:
            return None
        inside = mapping.get_hp_fragment_address()
        return _Place(mapping.param_group_index, inside.start, mapping.lp_fragment_address.start, inside.numel)
    return _Place(number, 0, 0, parameter.numel())


def _flat_weights(engine: DeepSpeedEngine) -> list[Tensor]:
    """Return the float32 tensors that Adam updates on this rank; without ZeRO, one for each of the model's parameters."""
    optimizer = engine.optimizer
    for name in ("single_partition_of_fp32_groups", "fp32_partitioned_groups_flat"):  # stages 1 and 2, and stage 3
        if hasattr(optimizer, name):
            return list(getattr(optimizer, name))
    if hasattr(optimizer, "fp32_groups"):  # bfloat16 without ZeRO
        return [weight for group in optimizer.fp32_groups for weight in group]
    return list(engine.module.model.parameters())


def _adam(engine: DeepSpeedEngine) -> torch.optim.Optimizer:
    adam: torch.optim.Optimizer = engine.basic_optimizer
    return adam


def _begin(engine: DeepSpeedEngine) -> None:
    """Make Adam's state as it is before the first step, where there is none yet."""
    states = _adam(engine).state
    for flat in _flat_weights(engine):
        if flat not in states or not states[flat]:
            states[flat] = {"step": torch.zeros((), dtype=torch.float32, device=flat.device)}
            states[flat] |= {kind: torch.zeros_like(flat.data) for kind in MOMENTS}
