"""Checks that the learner computes the same log-probs as the model itself. The check runs at load, on a short text."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from actors.learner.batches import TokenSequences
from actors.learner.errors import UnsupportedModelError
from actors.learner.packing import pack

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel

_LENGTHS = (24, 7, 13)
"""lengths of the text's rows, chosen so that the packed layout has padding and more than one group"""
_TOLERANCE, _HALF_TOLERANCE = 0.01, 0.2
"""largest allowed difference of a token's log-prob, in nats: in float32, and with attention in bfloat16"""


def probe_text(config: PreTrainedConfig) -> TokenSequences:
    """Return a few rows of random tokens, the same ones for every model with this vocabulary size."""
    vocabulary = config.get_text_config().vocab_size
    tokens = np.random.default_rng(0).integers(0, vocabulary, sum(_LENGTHS)).astype(np.int32)
    offsets = np.concatenate([[0], np.cumsum(_LENGTHS)]).astype(np.int64)
    return TokenSequences(tokens, offsets, np.ones(len(tokens), np.bool_))


@torch.no_grad()
def plain_logprobs(model: PreTrainedModel, text: TokenSequences) -> Tensor:
    """Return [M] the bare model's log-probs, in evaluation mode, of all tokens of `text` but each row's first."""
    was_training, attention = model.training, model.config._attn_implementation
    model.eval()
    model.set_attn_implementation("eager")  # the only implementation that supports everything a model may configure
    try:
        rows = np.split(text.token_ids.astype(np.int64), text.offsets[1:-1])
        parts = []
        for row in rows:
            ids = torch.from_numpy(row).to(model.device)[None]
            logprobs = model(input_ids=ids, use_cache=False).logits[0, :-1].float().log_softmax(-1)
            parts.append(logprobs.gather(1, ids[0, 1:, None])[:, 0])
        return torch.cat(parts)
    finally:
        model.set_attn_implementation(attention)
        model.train(was_training)


@torch.no_grad()
def require_equal(packed: nn.Module, model_type: str, text: TokenSequences, expected: Tensor, half: bool) -> None:
    """Raise UnsupportedModelError unless `packed`, a `PackedCausalLM` in training mode, gives `text` the log-probs `expected`.

    With `half`, the model runs under bfloat16 autocast, because its attention computes in bfloat16 only.
    """
    was_training, device = packed.training, expected.device
    context: AbstractContextManager[object] = torch.autocast(device.type, torch.bfloat16) if half else nullcontext()
    packed.train()
    try:
        with context:
            _, found, _ = packed(pack(text, np.arange(len(text)), device), 1.0)
    except Exception as error:
        raise UnsupportedModelError(
            f"the learner cannot run models of type {model_type!r}: {type(error).__name__}: {error}. {_REMEDY}"
        ) from error
    finally:
        packed.train(was_training)
    gap = (found - expected).abs()
    largest, tolerance = float(gap.max()), _HALF_TOLERANCE if half else _TOLERANCE
    if not largest <= tolerance:
        raise UnsupportedModelError(
            f"the learner's log-probs of a model of type {model_type!r} are not the model's own: on {len(gap)} tokens they differ "
            f"by {float(gap.mean()):.3g} nats on average and by up to {largest:.3g}, and rounding explains at most "
            f"{tolerance:g}. Training would push the student away from what its engine samples. {_REMEDY}"
        )


_REMEDY = (
    "Take a student of another type, such as qwen2, qwen3, llama or gemma3, or add this type to actors/learner/model.py"
)


def drop_nothing(model: nn.Module) -> None:
    """Switch off dropout, also in training mode, because the engine samples without it."""
    for module in model.modules():
        if isinstance(module, nn.modules.dropout._DropoutNd):
            module.p = 0.0
        for name, value in vars(module).items():
            if "drop" in name and isinstance(value, float):
                setattr(module, name, 0.0)
