"""Weights out of the learner: as arrays for the rollout engines, and as a Hugging Face folder."""

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
    """Each parameter in full, one at a time, under its Hugging Face name; a collective under ZeRO-3: run on all ranks.

    A tensor is valid until the next one is asked for.
    """
    import deepspeed

    for name, parameter in model.named_parameters():
        with deepspeed.zero.GatheredParameters([parameter], enabled=hasattr(parameter, "ds_id")):
            yield name, parameter.detach()


def gather_weights(model: PreTrainedModel, keep: bool, copy: bool = True) -> dict[str, NDArray]:
    """Return all weights as float32, or bfloat16 viewed as uint16; empty unless `keep`. Run on all ranks.

    Without `copy` arrays may be the memory of the parameters themselves, good until the next optimizer step.
    A tied LM head is there under its own name too: engines that tie it to the embedding keep a stale copy otherwise.
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
    """Write a Hugging Face folder of safetensors in the model's dtype; `path` is complete or absent at any time.

    Run on all ranks; the `writer` writes.
    """
    state: dict[str, Tensor] = {}
    for name, tensor in full_parameters(model):
        if writer:
            state[name] = tensor.cpu().clone()
    if not writer:
        return
    partial = start_folder(path)
    generation_config = model.generation_config
    model.generation_config = type(generation_config)()  # transformers refuses to write what it was ready to read
    try:
        model.save_pretrained(partial, state_dict=state)
    finally:
        model.generation_config = generation_config
    write_generation_config(generation_config, partial)
    commit_folder(path)


def write_generation_config(generation_config: GenerationConfig | None, folder: Path) -> None:
    """Write a model's generation configuration with all its values, those that transformers calls invalid too.

    Engines read them from the base student's folder just so. Nothing is written for a model that cannot generate.
    """
    if generation_config is not None:
        generation_config.to_json_file(folder / "generation_config.json", use_diff=True)
