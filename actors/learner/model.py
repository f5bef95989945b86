"""The causal LM as the learner runs it: it takes packed rows and returns the targets' log-probs."""

from __future__ import annotations

import importlib.util
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from actors.learner.attention import PACKED, register_packed_attention
from actors.learner.errors import IncompleteModelError, UnsupportedModelError
from actors.learner.fidelity import drop_nothing, plain_logprobs, probe_text, require_equal
from actors.learner.logprobs import Chunking, LogprobHead, Objective
from actors.learner.packing import PackedRows

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """Where a model comes from, and whether its weights are read or drawn at random."""

    path: str
    """a Hugging Face folder"""
    initialise: bool = False
    """read only the folder's configuration, and draw the weights at random"""


class PackedCausalLM(nn.Module):
    """A Hugging Face causal LM for packed rows. Its LM head scores given tokens instead of returning logits.

    Raises UnsupportedModelError if the model has no LM head, or one with a bias.
    """

    def __init__(self, model: PreTrainedModel, chunking: Chunking) -> None:
        super().__init__()
        head = model.get_output_embeddings()
        if head is None or getattr(head, "bias", None) is not None:
            what = "no LM head" if head is None else "an LM head with a bias"
            raise UnsupportedModelError(f"the learner cannot train models of type {model.config.model_type!r}: {what}")
        self.model = model
        scale, softcap = head_settings(model.config)
        self.model.set_output_embeddings(LogprobHead(head.weight, chunking, scale, softcap))
        drop_nothing(self.model)

    def forward(
        self, packed: PackedRows, temperature: float, objective: Objective | None = None, with_entropy: bool = False
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return the sum of `objective` over the M targets, their log-probs at `temperature`, and the entropies in nats.

        Log-probs and entropies are [M] float32 without gradient. Without an objective, the sum is 0. The entropies are 0
        unless `with_entropy` is set.
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


def head_settings(config: PreTrainedConfig) -> tuple[float, float | None]:
    """Return the factor that a model applies to the LM head's logits, and the bound of its soft-cap (None if it has none).

    Granite divides by `logits_scaling`. Cohere multiplies by `logit_scale`. Gemma has `final_logit_softcapping`.
    """
    text = config.get_text_config()
    scale = (getattr(text, "logit_scale", None) or 1.0) / (getattr(text, "logits_scaling", None) or 1.0)
    return scale, getattr(text, "final_logit_softcapping", None)


def check_model(folder: str) -> None:
    """Raise LearnerRefusal if the learner could not train and export the model in `folder`.

    The model is loaded on the host, because an engine may be using the GPU.
    """
    load_model(ModelSpec(folder), torch.float32, torch.device("cpu"), Chunking(tokens=64, logits_bytes=2**26))


def load_model(
    spec: ModelSpec,
    dtype: torch.dtype,
    device: torch.device,
    chunking: Chunking,
    compute_dtype: torch.dtype | None = None,
) -> PackedCausalLM:
    """Return the whole model in `dtype` on `device`. It will compute in `compute_dtype` (default: `dtype`).

    FlashAttention is used for bfloat16 on GPUs, if it is installed. Everything else uses the packed attention. Raises
    IncompleteModelError if the folder lacks a weight. Raises UnsupportedModelError if the log-probs differ from the bare
    model's. That is checked for `dtype` float32 only; policies are always loaded in float32.
    """
    from transformers import AutoConfig, AutoModelForCausalLM

    register_packed_attention()
    half_on_gpu = device.type == "cuda" and (compute_dtype or dtype) == torch.bfloat16
    flash = half_on_gpu and importlib.util.find_spec("flash_attn") is not None
    attention = "flash_attention_2" if flash else PACKED
    if spec.initialise:
        config = AutoConfig.from_pretrained(spec.path, trust_remote_code=False)
        model = AutoModelForCausalLM.from_config(
            config, dtype=dtype, attn_implementation=attention, trust_remote_code=False
        )
    else:
        _require_readable_generation_config(Path(spec.path))
        model, loading = AutoModelForCausalLM.from_pretrained(
            spec.path,
            dtype=dtype,
            attn_implementation=attention,
            use_safetensors=True,
            trust_remote_code=False,
            output_loading_info=True,
        )
        wrong = {kind: sorted(map(str, loading[kind])) for kind in ("missing_keys", "mismatched_keys") if loading[kind]}
        if wrong:
            raise IncompleteModelError(f"{spec.path} does not fit its configuration: {wrong}")
    model = model.to(device)
    if dtype != torch.float32:
        return PackedCausalLM(model, chunking)
    text = probe_text(model.config)
    expected = plain_logprobs(model, text)
    packed = PackedCausalLM(model, chunking)
    require_equal(packed, model.config.model_type, text, expected, half=flash)
    return packed


def _require_readable_generation_config(folder: Path) -> None:
    """Raise UnsupportedModelError if transformers cannot read `generation_config.json`: the model could not be exported."""
    from transformers import GenerationConfig

    file = folder / "generation_config.json"
    if not file.is_file():
        return
    try:
        values = json.loads(file.read_text())
        if not isinstance(values, dict):
            raise TypeError(f"it holds a {type(values).__name__}, not an object")
        GenerationConfig.from_dict(values)
    except (OSError, TypeError, ValueError) as error:
        raise UnsupportedModelError(
            f"{file} cannot be read: {error}. Correct or remove it: the trained student is exported with its values"
        ) from error
