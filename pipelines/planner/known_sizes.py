"""Sizes of models that a plan may name before they are on this machine, from their published configurations."""

from __future__ import annotations

from pipelines.experiment.errors import ConfigError
from pipelines.experiment.models import ModelSettings
from pipelines.memory.model_size import ModelSize, model_size, size_of_config

# hidden_size, layers, heads, intermediate_size, and whether input and output embeddings are one; from each config.json.
_QWEN3 = {
    "Qwen/Qwen3-0.6B": (1024, 28, 16, 3072, True),
    "Qwen/Qwen3-1.7B": (2048, 28, 16, 6144, True),
    "Qwen/Qwen3-4B": (2560, 36, 32, 9728, True),
    "Qwen/Qwen3-8B": (4096, 36, 32, 12288, False),
    "Qwen/Qwen3-14B": (5120, 40, 40, 17408, False),
}


def known_size(settings: ModelSettings) -> ModelSize | None:
    """Return the size of a model that is here, or whose configuration is known; else None."""
    found = model_size(settings)
    if found is not None or str(settings.path) not in _QWEN3:
        return found
    hidden, layers, heads, intermediate, tied = _QWEN3[str(settings.path)]
    return size_of_config(
        {
            "hidden_size": hidden,
            "num_hidden_layers": layers,
            "num_attention_heads": heads,
            "num_key_value_heads": 8,
            "head_dim": 128,
            "intermediate_size": intermediate,
            "vocab_size": 151936,
            "tie_word_embeddings": tied,
        }
    )


def size_for_plan(key: str, settings: ModelSettings) -> ModelSize:
    """Return the size of a model. Raises `ConfigError`, which names the key, if it is not known."""
    size = known_size(settings)
    if size is None:
        right = f"give a folder with its config.json, or one of {', '.join(_QWEN3)}"
        raise ConfigError([f"{key}.path = {settings.path!r}: its size is not known here; {right}"])
    return size
