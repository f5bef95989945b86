"""The router, and its file format. From the student's last hidden state it predicts whether the student may write the next token."""

from __future__ import annotations

from pathlib import Path

import torch
from pydantic import Field, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from cluster.errors import RunError
from cluster.files import commit_folder, partial_path, start_folder
from cluster.settings import Settings

_SPEC, _WEIGHTS = "router.json", "router.safetensors"
_MARGIN = 1e-6
"""confidences stay this far from 0 and 1: at threshold 0 the teacher then writes no token, and at 1 it writes every token"""


class RouterSpec(Settings):
    """The architecture of a router, stored beside its weights."""

    hidden_size: int = Field(gt=0)
    """of the student"""
    dropout: float = Field(0.1, ge=0.0, lt=1.0)


class RouterError(RunError, ValueError):
    """A router cannot be read or does not fit the student; the message names the file."""


class TokenRouter(nn.Module):
    """An MLP with batch norm and dropout. Its two hidden layers are 2 h and h wide, for the student's hidden size h."""

    def __init__(self, spec: RouterSpec) -> None:
        super().__init__()
        self.spec = spec
        size = spec.hidden_size
        self.layers = nn.Sequential(
            *_hidden_layer(size, 2 * size, spec.dropout),
            *_hidden_layer(2 * size, size, spec.dropout),
            nn.Linear(size, 1),
        )

    def forward(self, hidden: Tensor) -> Tensor:
        """Return the logit of "the student may write it" for each token: [m, h] -> [m]."""
        logits: Tensor = self.layers(hidden.float())[:, 0]
        return logits

    @torch.inference_mode()
    def confidence(self, hidden: Tensor) -> Tensor:
        """Return the probability that the student may write each token, strictly between 0 and 1: [m, h] -> [m]."""
        return self(hidden).sigmoid().clamp(_MARGIN, 1 - _MARGIN)


def save_router(router: TokenRouter, folder: Path) -> None:
    """Write the router to `folder`. The folder is complete or absent at any time."""
    start_folder(folder)
    partial = partial_path(folder)
    save_file({name: tensor.cpu().contiguous() for name, tensor in router.state_dict().items()}, partial / _WEIGHTS)
    (partial / _SPEC).write_text(router.spec.model_dump_json(indent=2) + "\n", encoding="utf-8")
    commit_folder(folder)


def load_router(folder: Path, device: torch.device, hidden_size: int) -> TokenRouter:
    """Return the router in `folder`, in evaluation mode. Raises `RouterError` unless it fits a student of `hidden_size`."""
    try:
        spec = RouterSpec.model_validate_json((folder / _SPEC).read_text(encoding="utf-8"))
        if spec.hidden_size != hidden_size:
            raise RouterError(
                f"{folder}: made for a hidden size of {spec.hidden_size}, but the student's is {hidden_size}"
            )
        router = TokenRouter(spec)
        router.load_state_dict(load_file(folder / _WEIGHTS))
    except (OSError, ValidationError, SafetensorError, RuntimeError) as error:
        raise RouterError(f"{folder}: not a router: {error}") from error
    return router.to(device).eval()


def _hidden_layer(inputs: int, outputs: int, dropout: float) -> tuple[nn.Module, ...]:
    return nn.Linear(inputs, outputs), nn.BatchNorm1d(outputs), nn.ReLU(), nn.Dropout(dropout)
