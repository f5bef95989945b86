"""The size of a model, from its files' headers and its configuration, without loading it."""

from __future__ import annotations

import json
import math
import struct
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from actors.tiny_models import TinyModelSettings
from pipelines.experiment.models import ModelSettings

_TINY_VOCABULARY = 64
_EXPERTS = ("num_experts", "num_local_experts", "n_routed_experts")


@dataclass(frozen=True, slots=True)
class ModelSize:
    """The sizes that decide how much memory a causal LM needs."""

    parameters: int
    layers: int
    hidden: int
    intermediate: int
    """width of the MLP for one token, over all its active experts"""
    kv_width: int
    """width of a token's keys in one layer, and also of its values"""
    vocabulary: int

    def kv_bytes(self, tokens: int, bytes_each: int) -> int:
        """Return the bytes of `tokens` in a KV cache with `bytes_each` for a number."""
        return 2 * self.layers * self.kv_width * tokens * bytes_each


def model_size(settings: ModelSettings) -> ModelSize | None:
    """Return the size of a base model: pretrained, a folder, or in the hub's cache; None if it is not known here."""
    if settings.pretrain is not None:
        return _tiny(settings.pretrain.architecture)
    folder = _folder(str(settings.path))
    if folder is None:
        return None
    try:
        size = size_of_config(json.loads((folder / "config.json").read_text(encoding="utf-8")))
        found = [_parameters(file) for file in folder.glob("*.safetensors")]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, struct.error):
        return None
    return replace(size, parameters=sum(found)) if found and sum(found) else size


def size_of_config(config: dict[str, Any]) -> ModelSize:
    """Return the size that a Hugging Face configuration describes; of its text part if it has several parts."""
    config = config.get("text_config", config)
    hidden, layers = config["hidden_size"], config["num_hidden_layers"]
    heads = config["num_attention_heads"]
    head_dim = config.get("head_dim") or hidden // heads
    kv_width = (config.get("num_key_value_heads") or heads) * head_dim
    vocabulary = config["vocab_size"]
    experts = next((config[name] for name in _EXPERTS if config.get(name)), 1)
    width = config.get("moe_intermediate_size") if experts > 1 else None
    width = width or config.get("intermediate_size") or 4 * hidden
    attention = 2 * hidden * heads * head_dim + 2 * hidden * kv_width
    embeddings = vocabulary * hidden * (1 if config.get("tie_word_embeddings", True) else 2)
    parameters = embeddings + layers * (attention + 3 * hidden * width * experts + 2 * hidden)
    active = width * (config.get("num_experts_per_tok") or 1 if experts > 1 else 1)
    return ModelSize(parameters, layers, hidden, active, kv_width, vocabulary)


def _tiny(architecture: TinyModelSettings) -> ModelSize:
    return size_of_config(
        {
            "hidden_size": architecture.hidden_size,
            "num_hidden_layers": architecture.layers,
            "num_attention_heads": architecture.heads,
            "head_dim": architecture.head_dim,
            "intermediate_size": architecture.intermediate_size,
            "vocab_size": _TINY_VOCABULARY,
        }
    )


def _folder(path: str) -> Path | None:
    """Return where the model's files are on this machine, or None. Nothing is downloaded."""
    folder = Path(path).expanduser()
    if folder.is_dir():
        return folder
    from huggingface_hub import try_to_load_from_cache

    try:
        config = try_to_load_from_cache(path, "config.json")
    except ValueError:  # no hub name
        return None
    return Path(config).parent if isinstance(config, str) else None


def _parameters(file: Path) -> int:
    """Return the number of values in a safetensors file, from its header."""
    with file.open("rb") as tensors:
        (length,) = struct.unpack("<Q", tensors.read(8))
        header = json.loads(tensors.read(length))
    return sum(math.prod(entry["shape"]) for name, entry in header.items() if name != "__metadata__")
