"""Takes weights out of the learner: as arrays for the rollout engines, and as a Hugging Face folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from numpy.typing import NDArray
from torch import Tensor

from cluster.files import commit_folder, start_folder

if TYPE_CHECKING:
    from transformers import GenerationConfig, PreTrainedModel


def full_parameters(model: PreTrainedModel) -> Iterator[tuple[str, Tensor]]:
    """Yield each parameter with its Hugging Face name, whole, one at a time.

    Run on all ranks, because ZeRO-3 gathers each parameter from all of them. A tensor is valid until the next is yielded.
    """
    import deepspeed

    for name, parameter in model.named_parameters():
        with deepspeed.zero.GatheredParameters([parameter], enabled=hasattr(parameter, "ds_id")):
            yield name, parameter.detach()


def gather_weights(model: PreTrainedModel, keep: bool, copy: bool = True) -> dict[str, NDArray]:
    """Return all weights by name, as float32 or as bfloat16 viewed as uint16; empty unless `keep`. Run on all ranks.

    Without `copy`, arrays may share the parameters' memory, so they are valid only until the next optimizer step. A tied
    LM head has an entry of its own, because an engine may keep a separate copy of it.
    """
    partitioned = any(hasattr(parameter, "ds_id") for parameter in model.parameters())
    weights: dict[str, NDArray] = {}
    for name, tensor in full_parameters(model):
        if keep:
            host = tensor.cpu().contiguous()
            array = host.view(torch.uint16).numpy() if host.dtype == torch.bfloat16 else host.numpy()
            borrowed = host.data_ptr() == tensor.data_ptr()
            weights[name] = array.copy() if borrowed and (copy or partitioned) else array
    if keep:
        head = model.get_output_embeddings()
        names = {id(parameter): name for name, parameter in model.named_parameters()}
        head_name = next(name for name, module in model.named_modules() if module is head)
        weights.setdefault(f"{head_name}.weight", weights[names[id(head.weight)]])
    return weights


def export_model(model: PreTrainedModel, path: Path, writer: bool) -> None:
    """Write the model as a Hugging Face folder, in its dtype. The folder `path` is complete or absent at any time.

    Run on all ranks. Only the rank that is the `writer` writes.
    """
    state: dict[str, Tensor] = {}
    for name, tensor in full_parameters(model):
        if writer:
            state[name] = tensor.cpu().clone()
    if not writer:
        return
    partial = start_folder(path)
    generation_config = model.generation_config
    model.generation_config = type(generation_config)()  # transformers reads some values that it refuses to write
    try:
        model.save_pretrained(partial, state_dict=state)
    finally:
        model.generation_config = generation_config
    write_generation_config(generation_config, partial)
    commit_folder(path)


def write_generation_config(generation_config: GenerationConfig | None, folder: Path) -> None:
    """Write a model's generation configuration with all its values, also those that transformers calls invalid.

    Engines read these values from the base student's folder, so the trained student must have the same ones. Nothing is
    written for a model that cannot generate.
    """
    if generation_config is not None:
        generation_config.to_json_file(folder / "generation_config.json", use_diff=True)
