"""Shows where the threads of an actor's process are, when the driver asks because the actor does not answer."""

from __future__ import annotations

import faulthandler
import os
import signal
import time
from collections.abc import Mapping
from typing import Any

_ASK = signal.SIGUSR1
_PATIENCE_S = 10.0
_WRITING_S = 0.5


def show_stacks_on_signal() -> None:
    """Have this process write the stacks of all its threads to its standard error when `ask_for_stacks` asks.

    Python's own handler does it, also while a library holds the interpreter for ever. Ray keeps an actor's standard error
    in a log of its own.
    """
    faulthandler.register(_ASK, all_threads=True, chain=False)


def ask_for_stacks(state: Mapping[str, Any]) -> str | None:
    """Ask an actor, by what Ray says of its state, to write its stacks; return where they are, or None if that failed.

    A process that was stopped as a whole writes nothing. Without `show_stacks_on_signal` the process would end.
    """
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    pid, node = int(state.get("Pid") or 0), str((state.get("Address") or {}).get("NodeID") or "")
    if not pid or not node:
        return None
    there = NodeAffinitySchedulingStrategy(node, soft=False)
    ask = ray.remote(_ask).options(num_cpus=0, max_retries=0, scheduling_strategy=there, name="stacks")
    try:
        ray.get(ask.remote(pid), timeout=_PATIENCE_S)
    except Exception:  # it is help for a person, and must not keep the run from going on
        return None
    return f"Ray's log of process {pid}, worker-*-{pid}.err"


def _ask(pid: int) -> None:
    os.kill(pid, _ASK)
    time.sleep(_WRITING_S)  # it is ended next, and nothing tells when it has written
