"""The learner's state on disk: weights, optimizer and step, so that training continues exactly where it was.

Each rank writes the ranges of parameters that it holds, as float32 in safetensors. So a state can be loaded with any number of ranks,
ZeRO stage and dtype, and nothing in it is code.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from pydantic import ValidationError
from torch import Tensor

from actors.learner.errors import LearnerRefusal
from actors.learner.optimizer_parts import (
    MOMENTS,
    WEIGHT,
    adam_steps,
    is_partitioned,
    own_parts,
    set_adam_steps,
    set_weight,
)
from cluster.files import commit_folder, partial_path, start_folder
from cluster.settings import Settings

if TYPE_CHECKING:
    from deepspeed import DeepSpeedEngine

_FILE = "state.json"
_FILE_BYTES = 2 * 2**30


class _State(Settings):
    """What is in the files of a state."""

    optimizer_step: int
    """including skipped steps"""
    adam_steps: int
    parameters: dict[str, tuple[int, ...]]
    """the shape of each"""


class CheckpointError(LearnerRefusal):
    """A learner state cannot be read, or is of another model."""


def save_state(engine: DeepSpeedEngine, path: Path, step: int) -> None:
    """Write the state to the folder `path`, which is complete or absent at any time. Run on all ranks, on a disk that they share."""
    from deepspeed import comm

    writer = comm.get_rank() == 0
    if writer:
        start_folder(path)
    comm.barrier()
    _write_parts(engine, partial_path(path))
    comm.barrier()
    if writer:
        state = _State(optimizer_step=step, adam_steps=adam_steps(engine), parameters=_shapes(engine))
        (partial_path(path) / _FILE).write_text(state.model_dump_json())
        commit_folder(path)
    comm.barrier()


def load_state(engine: DeepSpeedEngine, path: Path) -> int:
    """Restore weights and optimizer from `path` and return the optimizer step. Run on all ranks.

    Raises CheckpointError if there is no state, one of another model, or one that is damaged.
    """
    if (path / "layout.json").exists():
        raise CheckpointError(
            f"{path} is of an earlier version, which kept DeepSpeed's own files. Finish the run with that version, or move its checkpoints "
            "away: GRPO then begins anew from the warm-up"
        )
    try:
        state = _State.model_validate_json((path / _FILE).read_text())
    except (OSError, ValidationError) as error:
        raise CheckpointError(f"{path} holds no learner state: {error}") from error
    _require_model(state.parameters, _shapes(engine), path)
    saved = _Saved(path, {name: math.prod(shape) for name, shape in state.parameters.items()})
    for part in own_parts(engine):
        for kind, tensor in part.tensors.items():
            tensor.copy_(saved.part(part.parameter, kind, part.start, len(tensor)))
    for name, parameter in engine.module.model.named_parameters():
        needed = engine.global_rank == 0 or not is_partitioned(parameter)
        weight = saved.part(name, WEIGHT, 0, saved.elements[name]) if needed else None
        set_weight(parameter, None if weight is None else weight.view(state.parameters[name]))
    set_adam_steps(engine, state.adam_steps)
    return state.optimizer_step


class _Saved:
    """The parts of a saved state, of all ranks. Raises CheckpointError where a file cannot be read or lacks something."""

    def __init__(self, path: Path, elements: Mapping[str, int]) -> None:
        from safetensors import SafetensorError, safe_open

        self._path, self.elements = path, elements
        self._places: dict[tuple[str, str], list[tuple[int, int, Any]]] = {}
        try:
            for file in sorted(path.glob("rank-*.safetensors")):
                opened = safe_open(file, "pt")
                for key in opened.keys():  # noqa: SIM118 (it is no mapping)
                    kind, start, name = key.split("/", 2)
                    part = opened.get_slice(key)
                    self._places.setdefault((kind, name), []).append((int(start), *part.get_shape(), part))
        except (SafetensorError, ValueError) as error:
            raise self._damaged(str(error)) from error
        for name, expected in elements.items():
            for kind in (WEIGHT, *MOMENTS):
                self._require_whole(name, kind, expected)

    def part(self, name: str, kind: str, start: int, elements: int) -> Tensor:
        """Return [elements] float32 of a parameter's weight or moment, from `start` on."""
        whole = torch.empty(elements, dtype=torch.float32)
        for begin, length, part in self._places[(kind, name)]:
            first, end = max(begin, start), min(begin + length, start + elements)
            if first < end:
                whole[first - start : end - start] = part[first - begin : end - begin]
        return whole

    def _require_whole(self, name: str, kind: str, elements: int) -> None:
        at = 0
        for start, length, _ in sorted(self._places.get((kind, name), []), key=lambda place: place[0]):
            if start != at:
                break
            at += length
        if at != elements:
            raise self._damaged(f"the first {at} of {elements} numbers of {kind} of {name} are there")

    def _damaged(self, why: str) -> CheckpointError:
        return CheckpointError(
            f"{self._path} cannot be loaded: it is damaged ({why[:200]}). Move the checkpoint's folder away: the run then goes on from "
            "the one before it"
        )


def _require_model(saved: Mapping[str, tuple[int, ...]], own: Mapping[str, tuple[int, ...]], path: Path) -> None:
    for name in sorted(saved.keys() | own.keys()):
        if saved.get(name) != own.get(name):
            was, now = (list(shapes[name]) if name in shapes else "absent" for shapes in (saved, own))
            raise CheckpointError(f"{path} is of another model: its {name} is {was}, and this model's is {now}")


def _shapes(engine: DeepSpeedEngine) -> dict[str, tuple[int, ...]]:
    parameters = engine.module.model.named_parameters()
    return {name: tuple(getattr(parameter, "ds_shape", parameter.shape)) for name, parameter in parameters}


def _write_parts(engine: DeepSpeedEngine, folder: Path) -> None:
    from safetensors.torch import save_file

    for number, tensors in enumerate(_in_files(_to_write(engine))):
        save_file(tensors, folder / f"rank-{engine.global_rank:05d}-{number:05d}.safetensors")


def _to_write(engine: DeepSpeedEngine) -> Iterator[tuple[str, Tensor]]:
    if engine.zero_optimization_stage() == 0 and engine.global_rank > 0:
        return  # rank 0 has the same
    for part in own_parts(engine):
        for kind, tensor in part.tensors.items():
            yield f"{kind}/{part.start}/{part.parameter}", tensor


def _in_files(named: Iterator[tuple[str, Tensor]]) -> Iterator[dict[str, Tensor]]:
    """Yield the tensors on the host, as many at a time as a file may hold."""
    tensors: dict[str, Tensor] = {}
    size = 0
    for name, tensor in named:
        tensors[name] = tensor.to("cpu", copy=True)
        size += tensor.nbytes
        if size >= _FILE_BYTES:
            yield tensors
            tensors, size = {}, 0
    if tensors:
        yield tensors
