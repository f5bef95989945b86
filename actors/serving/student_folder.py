"""Finds and checks the folder of a student's weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from actors.model_folder import check_weights

_CONFIG = "config.json"
_OF_A_RUN = ("stages/grpo/model", "stages/warmup/model")
_SHAPES = (
    "architectures",
    "vocab_size",
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "head_dim",
    "intermediate_size",
    "tie_word_embeddings",
)


def student_folder(path: Path) -> Path:
    """Return the model's folder: the path itself, or the final student of a run's folder.

    Raises ValueError if there is none, or if its weights are not whole.
    """
    candidates = [path, *(path / name for name in _OF_A_RUN)]
    for folder in candidates:
        if (folder / _CONFIG).is_file():
            check_weights(folder)
            return folder.absolute()
    raise ValueError(f"{path.absolute()} is neither the folder of a model nor of a run with a trained student")


def check_exchangeable(served: Path, new: Path) -> None:
    """Raise ValueError if the new weights do not fit into the model that is served."""
    if not served.is_dir():
        return  # a hub name; the engine will refuse what does not fit
    ours, theirs = _config(served), _config(new)
    for key in _SHAPES:
        if ours.get(key) != theirs.get(key):
            raise ValueError(
                f"{new} has {key} {theirs.get(key)!r}, but the student that is served has {ours.get(key)!r}"
            )


def _config(folder: Path) -> dict[str, Any]:
    config: dict[str, Any] = json.loads((folder / _CONFIG).read_text(encoding="utf-8"))
    return config
