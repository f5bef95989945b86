"""Faster kernels for a model's norms and MLPs: compiled by torch, or Liger's."""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedModel

LIGER = "liger_kernel"
_COMPILED = ("RMSNorm", "MLP")
"""endings of the class names of what is compiled; the rest of a layer has arguments that differ from batch to batch"""


class KernelError(RuntimeError):
    """Kernels that were asked for cannot be had here."""


def require_liger() -> None:
    """Raise KernelError, with the remedy, unless Liger's kernels are installed."""
    if importlib.util.find_spec(LIGER) is None:
        raise KernelError("learner.liger_kernels needs a package that is not installed: pip install liger-kernel")


def use_liger(model: PreTrainedModel) -> None:
    """Put Liger's norms, rotary embedding and MLPs into `model`, on a GPU; its LM head stays. Raises KernelError.

    Later models of the process get them as well.
    """
    require_liger()
    if model.device.type != "cuda":
        raise KernelError(f"learner.liger_kernels are for GPUs, and the learner runs on {model.device.type}")
    from liger_kernel.transformers import monkey_patch

    apply = monkey_patch.MODEL_TYPE_TO_APPLY_LIGER_FN.get(model.config.model_type)
    if apply is None:
        raise KernelError(f"learner.liger_kernels: there are none for the architecture {model.config.model_type!r}")
    apply(model=model, cross_entropy=False, fused_linear_cross_entropy=False)


def compile_parts(model: PreTrainedModel) -> int:
    """Have norms and MLPs compiled at their first use, for any number of tokens; return how many there are.

    Raises KernelError if the model has none that are known by name.
    """
    parts = [part for part in model.modules() if type(part).__name__.endswith(_COMPILED)]
    if not parts:
        raise KernelError(
            f"learner.torch_compile: no {' or '.join(_COMPILED)} in the architecture {type(model).__name__}"
        )
    for part in parts:
        part.compile(dynamic=True)
    return len(parts)
