"""Model folders that are whole as far as their files go, for tests that load no model."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def tensors(values: int = 0) -> bytes:
    """Return a safetensors file with one weight of so many bytes."""
    entry = {"dtype": "U8", "shape": [values], "data_offsets": [0, values]}
    header = json.dumps({"__metadata__": {"format": "pt"}, "weight": entry}).encode()
    return struct.pack("<Q", len(header)) + header + bytes(values)


def model_folder(folder: Path, config: Mapping[str, Any] | None = None) -> Path:
    """Make a folder with a configuration and weights, and return it."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config or {}))
    (folder / "model.safetensors").write_bytes(tensors())
    return folder
