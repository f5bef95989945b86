"""The operator that DeepSpeed compiles on CPUs: it sums gradients of ranks on one machine through shared memory."""

from __future__ import annotations

import fcntl
import hashlib
import os
import sys
from collections.abc import Mapping
from pathlib import Path

from cluster.variables import variables

NAME = "deepspeed_shm_comm"


def operator_folder(environ: Mapping[str, str] | None = None) -> Path:
    """Return where this Python environment keeps the compiled operator.

    Each environment has a folder of its own. With a common one, PyTorch would compile anew whenever the environment
    changes, perhaps while a learner of the other environment is running.
    """
    from torch.utils.cpp_extension import get_default_build_root

    root = (os.environ if environ is None else environ).get("TORCH_EXTENSIONS_DIR") or get_default_build_root()
    own = f"relayllm-{hashlib.sha256(sys.prefix.encode()).hexdigest()[:12]}"
    return Path(root) / own / NAME


def load_operator() -> None:
    """Load the operator into this process, and compile it first if there is none yet, which takes a minute or two.

    Processes that need it at once wait for the one that compiles. One that was killed leaves PyTorch's lock, for which
    PyTorch would wait for ever, without a message; so that lock is removed here. Does nothing where DeepSpeed has no such
    operator. Raises RuntimeError if it cannot be compiled.
    """
    import deepspeed
    from deepspeed.accelerator import get_accelerator

    builder = get_accelerator().create_op_builder("ShareMemCommBuilder")
    if builder is None or not deepspeed.ops.__compatible_ops__.get(builder.NAME, False):
        return
    folder = operator_folder()
    folder.mkdir(parents=True, exist_ok=True)
    # The environment's own ninja: another version would begin anew, because it cannot read the other's log.
    path = os.pathsep.join([str(programs()), os.environ.get("PATH", os.defpath)])
    with (
        variables({"TORCH_EXTENSIONS_DIR": str(folder.parent), "PATH": path}),
        (folder.parent / "compiling.lock").open("w") as mine,
    ):
        fcntl.flock(mine, fcntl.LOCK_EX)  # the system gives it back when its process ends, however that ends
        (folder / "lock").unlink(missing_ok=True)
        builder.load()  # DeepSpeed finds it loaded when it joins the process group


def programs() -> Path:
    """Return the folder of this Python environment's programs, `ninja` among them."""
    return Path(sys.executable).parent
