"""The learner's state on disk: weights, optimizer and step, so that training continues exactly where it was."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from actors.learner.errors import LearnerRefusal
from cluster.files import commit_folder, partial_path, start_folder
from cluster.settings import Settings

if TYPE_CHECKING:
    from deepspeed import DeepSpeedEngine

_TAG = "state"
_LAYOUT = "layout.json"


class StateLayout(Settings):
    """What decides how a state is split into files. A state can only be loaded by a learner with the same layout."""

    world_size: int
    zero_stage: int
    dtype: str


class CheckpointError(LearnerRefusal):
    """A learner state cannot be read, or was written by a learner of another layout or model."""


def save_state(engine: DeepSpeedEngine, path: Path, layout: StateLayout, step: int) -> None:
    """Write the state to the folder `path`, which is complete or absent at any time. Run on all ranks, on a disk that they share."""
    from deepspeed import comm

    writer = comm.get_rank() == 0
    if writer:
        start_folder(path)
    comm.barrier()
    engine.save_checkpoint(str(partial_path(path)), tag=_TAG, client_state={"optimizer_step": step}, save_latest=False)
    comm.barrier()
    if writer:
        (partial_path(path) / _LAYOUT).write_text(layout.model_dump_json())
        commit_folder(path)
    comm.barrier()


def load_state(engine: DeepSpeedEngine, path: Path, layout: StateLayout) -> int:
    """Restore weights and optimizer from `path` and return the optimizer step. Run on all ranks.

    Raises CheckpointError if there is no state, one of another world size, ZeRO stage, dtype or model, or one that is damaged.
    """
    try:
        saved = StateLayout.model_validate_json((path / _LAYOUT).read_text())
    except (OSError, ValidationError) as error:
        raise CheckpointError(f"{path} holds no learner state: {error}") from error
    for name in StateLayout.model_fields:
        was, now = getattr(saved, name), getattr(layout, name)
        if was != now:
            raise CheckpointError(f"{path} was saved with {name} {was}, this learner has {name} {now}")
    engine.checkpoint_engine.load = _tensors
    try:
        loaded, client_state = engine.load_checkpoint(str(path), tag=_TAG)
    except Exception as error:  # DeepSpeed and torch raise any type on files that are damaged or of another model
        said = next(iter(str(error).strip().splitlines()), "") or type(error).__name__
        raise CheckpointError(
            f"{path} cannot be loaded: it is damaged, or of another model ({said[:200]}). Move the checkpoint's folder away: the run "
            "then goes on from the one before it"
        ) from error
    if loaded is None:
        raise CheckpointError(f"DeepSpeed found no state {_TAG!r} in {path}")
    return int(client_state["optimizer_step"])


def _tensors(path: str, map_location: Any = None) -> Any:
    """Return what is in a file of DeepSpeed's, as its own reader does, but without running code that the file may name.

    DeepSpeed's reader unpickles anything. Only these three of its classes are in a learner's files.
    """
    import torch
    from deepspeed.runtime.fp16.loss_scaler import LossScaler
    from deepspeed.runtime.zero.config import ZeroStageEnum
    from deepspeed.utils.tensor_fragment import fragment_address

    with torch.serialization.safe_globals([LossScaler, ZeroStageEnum, fragment_address]):
        return torch.load(path, map_location=map_location, weights_only=True)
