"""The causal LM as the learner runs it: packed rows in, log-probs of the targets out."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from actors.learner.attention import PACKED, register_packed_attention
from actors.learner.logprobs import Chunking, LogprobHead, Objective
from actors.learner.packing import PackedRows

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """Where a model comes from."""

    path: str
    """a Hugging Face folder"""
    initialise: bool = False
    """draw the weights at random from the folder's configuration instead of reading them"""


class IncompleteModelError(ValueError):
    """A model folder lacks weights that its configuration asks for."""


class PackedCausalLM(nn.Module):
    """A Hugging Face causal LM whose LM head scores given tokens, for packed rows."""

    def __init__(self, model: PreTrainedModel, chunking: Chunking) -> None:
        super().__init__()
        head = model.get_output_embeddings()
        if getattr(head, "bias", None) is not None:
            raise NotImplementedError("an LM head with a bias")
        self.model = model
        self.model.set_output_embeddings(LogprobHead(head.weight, chunking))

    def forward(
        self, packed: PackedRows, temperature: float, objective: Objective | None = None, with_entropy: bool = False
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return the summed objective, the targets' log-probs at `temperature` and the entropies there.

        The log-probs and entropies are [M] float32 without gradient; without an objective the sum is 0.
        """
        hidden = self.model.base_model(
            input_ids=packed.input_ids,
            position_ids=packed.position_ids,
            use_cache=False,
            cu_seq_lens_q=packed.boundaries,
            cu_seq_lens_k=packed.boundaries,
            max_length_q=packed.max_length,
            max_length_k=packed.max_length,
            padded_index=packed.padded_index,
            packed_index=packed.packed_index,
            groups=packed.groups,
        ).last_hidden_state[0]
        predictors = hidden.index_select(0, packed.predictors)
        return self.model.get_output_embeddings()(predictors, packed.targets, temperature, objective, with_entropy)


def load_model(
    spec: ModelSpec,
    dtype: torch.dtype,
    device: torch.device,
    chunking: Chunking,
    compute_dtype: torch.dtype | None = None,
) -> PackedCausalLM:
    """Build the model in full, in `dtype`, on `device`; it is going to compute in `compute_dtype` (default: `dtype`).

    FlashAttention serves bfloat16 on GPUs where it is installed, the packed attention everything else. Raises
    IncompleteModelError if the folder lacks a weight.
    """
    from transformers import AutoConfig, AutoModelForCausalLM

    register_packed_attention()
    half_on_gpu = device.type == "cuda" and (compute_dtype or dtype) == torch.bfloat16
    flash = half_on_gpu and importlib.util.find_spec("flash_attn") is not None
    attention = "flash_attention_2" if flash else PACKED
    if spec.initialise:
        config = AutoConfig.from_pretrained(spec.path)
        model = AutoModelForCausalLM.from_config(config, dtype=dtype, attn_implementation=attention)
    else:
        model, loading = AutoModelForCausalLM.from_pretrained(
            spec.path, dtype=dtype, attn_implementation=attention, output_loading_info=True
        )
        wrong = {kind: sorted(map(str, loading[kind])) for kind in ("missing_keys", "mismatched_keys") if loading[kind]}
        if wrong:
            raise IncompleteModelError(f"{spec.path} does not fit its configuration: {wrong}")
    return PackedCausalLM(model.to(device), chunking)
