"""Faster kernels for a model's norms and MLPs: compiled by torch, or Liger's."""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedModel

LIGER = "liger_kernel"
_COMPILED = ("RMSNorm", "MLP")
"""endings of the class names of compiled modules; other parts of a layer have arguments that change with every batch"""


class KernelError(RuntimeError):
    """The requested kernels are not available here; the message says why."""


def require_liger() -> None:
    """Raise KernelError, with the remedy, unless Liger's kernels are installed."""
    if importlib.util.find_spec(LIGER) is None:
        raise KernelError("learner.liger_kernels needs a package that is not installed: pip install liger-kernel")


def use_liger(model: PreTrainedModel) -> None:
    """Replace the norms, rotary embedding and MLPs of `model` by Liger's; its LM head stays.

    Later models of this process get these kernels too. Raises KernelError if Liger is not installed, has no kernels for
    this architecture, or the model is not on a GPU.
    """
    require_liger()
    if model.device.type != "cuda":
        raise KernelError(f"learner.liger_kernels are for GPUs, and the learner runs on {model.device.type}")
    from liger_kernel.transformers import monkey_patch

    apply = monkey_patch.MODEL_TYPE_TO_APPLY_LIGER_FN.get(model.config.model_type)
    if apply is None:
        raise KernelError(f"learner.liger_kernels: Liger has none for the architecture {model.config.model_type!r}")
    apply(model=model, cross_entropy=False, fused_linear_cross_entropy=False)


def compile_parts(model: PreTrainedModel) -> int:
    """Make torch compile each norm and MLP at its first use, for any number of tokens; return how many there are.

    Raises KernelError if the model has no module with such a class name.
    """
    parts = [part for part in model.modules() if type(part).__name__.endswith(_COMPILED)]
    if not parts:
        raise KernelError(
            f"learner.torch_compile: no {' or '.join(_COMPILED)} in the architecture {type(model).__name__}"
        )
    for part in parts:
        part.compile(dynamic=True)
    return len(parts)
