"""Looks into a model's folder before anything starts: whether its files are there, whole, and fit each other.

Only headers and JSON are read. Whether the weights are good is found out by those who load them.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_CONFIG, _TOKENIZER, _INDEX = "config.json", "tokenizer.json", "model.safetensors.index.json"
_OTHER_WEIGHTS = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.h5", "*.msgpack", "*.gguf", "*.pkl")
_POINTER = b"version https://git-lfs"
_LONGEST_HEADER = 100_000_000
"""bytes; safetensors itself reads no longer one"""


class FolderProblem(ValueError):
    """A model's folder cannot be used; the message names the file and says what would be right."""


def check_model_folder(folder: Path, of_tokenizer: bool = False) -> None:
    """Raise `FolderProblem` if the files of a model are missing, truncated or do not fit. Of a tokenizer's folder, only its own count."""
    vocabulary = _vocabulary(folder)
    if of_tokenizer:
        return
    config = _object(folder / _CONFIG)
    check_weights(folder)
    room = _number(config, "vocab_size") or _number(config.get("text_config"), "vocab_size")
    if room is not None and vocabulary is not None and vocabulary > room:
        raise FolderProblem(
            f"{folder / _TOKENIZER} has token ids up to {vocabulary - 1}, but {_CONFIG} has vocab_size = {room}: the tokenizer "
            "is another model's, or the embeddings were not resized"
        )


def context_tokens(folder: Path) -> int | None:
    """Return how many tokens the context of a model in a folder holds; None if its config does not say it plainly.

    A config that scales its position embeddings does not: how far they reach depends on the kind of scaling.
    """
    config = _object(folder / _CONFIG)
    text = config.get("text_config") or config
    rope = text.get("rope_scaling") or text.get("rope_parameters") or {}
    plain = isinstance(rope, Mapping) and rope.get("rope_type", rope.get("type", "default")) == "default"
    return _number(text, "max_position_embeddings") if plain else None


def check_weights(folder: Path) -> None:
    """Raise `FolderProblem` unless the folder has whole weights in safetensors."""
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        others = sorted(file.name for pattern in _OTHER_WEIGHTS for file in folder.glob(pattern))
        if others:
            raise FolderProblem(
                f"{folder} has its weights in {others[0]} alone, which could run any code when it is read; save the model "
                "again in safetensors, as save_pretrained of transformers does"
            )
        raise FolderProblem(f"{folder} has no weights: copy its .safetensors files there")
    for file in files:
        _check_tensors(file)
    if (index := folder / _INDEX).is_file():
        named = _object(index).get("weight_map")
        if not isinstance(named, dict) or not all(isinstance(name, str) for name in named.values()):
            raise FolderProblem(f"{index} has no weight_map from weights to files; copy it again")
        if missing := sorted(set(named.values()) - {file.name for file in files}):
            raise FolderProblem(f"{folder / missing[0]} is missing, and {_INDEX} names it; copy it there")


def _check_tensors(file: Path) -> None:
    """Raise `FolderProblem` if a safetensors file is not as long as its header says."""
    try:
        size = file.stat().st_size
        with file.open("rb") as tensors:
            beginning = tensors.read(len(_POINTER))
            if beginning == _POINTER:
                raise FolderProblem(f"{file} is a Git LFS pointer and has no weights: git lfs pull")
            tensors.seek(0)
            (length,) = struct.unpack("<Q", tensors.read(8))
            if length > min(size, _LONGEST_HEADER):
                raise ValueError(f"a header of {length} bytes")
            header = json.loads(tensors.read(length))
        entries = [entry for name, entry in header.items() if name != "__metadata__"]
        end = max((entry["data_offsets"][1] for entry in entries), default=0)
    except OSError as error:
        raise FolderProblem(f"{file}: cannot be read: {error.strerror}") from error
    except FolderProblem:
        raise
    except (struct.error, ValueError, RecursionError, AttributeError, KeyError, IndexError, TypeError) as error:
        raise FolderProblem(f"{file} is no whole safetensors file: its header cannot be read; copy it again") from error
    if not isinstance(end, int) or size != 8 + length + end:
        raise FolderProblem(
            f"{file} has {size:,} bytes, and its header promises {8 + length + end if isinstance(end, int) else end}; copy it again"
        )


def _vocabulary(folder: Path) -> int | None:
    """Return the highest token id of the folder's tokenizer plus 1; None if it is not in the common format."""
    file = folder / _TOKENIZER
    if not file.is_file():
        return None
    found = _object(file)
    model = found.get("model")
    words = model.get("vocab") if isinstance(model, dict) else None
    ids = list(words.values()) if isinstance(words, dict) else range(len(words)) if isinstance(words, list) else []
    added = found.get("added_tokens")
    ids = [*ids, *(one.get("id") for one in added if isinstance(one, dict))] if isinstance(added, list) else ids
    numbers = [one for one in ids if isinstance(one, int)]
    if not numbers:
        raise FolderProblem(f"{file} has no vocabulary; copy it again")
    return max(numbers) + 1


def _object(file: Path) -> dict[str, Any]:
    """Return the JSON object in a file. Raises `FolderProblem`."""
    try:
        value = json.loads(file.read_bytes())
    except OSError as error:
        raise FolderProblem(f"{file}: cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise FolderProblem(f"{file} is no JSON: it is cut off, or another file; copy it again") from error
    if not isinstance(value, dict):
        raise FolderProblem(f"{file} should be an object with a key for each setting; copy it again")
    return value


def _number(settings: Mapping[str, Any] | object, key: str) -> int | None:
    value = settings.get(key) if isinstance(settings, Mapping) else None
    return value if isinstance(value, int) and not isinstance(value, bool) else None
