"""Shows where the threads of an actor's process are, when the driver asks because the actor does not answer."""

from __future__ import annotations

import faulthandler
import os
import signal
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

_ASK = signal.SIGUSR1
_PATIENCE_S = 10.0
_WRITING_S = 0.5
_MOST_SHOWN = 8


def show_stacks_on_signal() -> None:
    """Have this process write the stacks of all its threads to its standard error when `ask_for_stacks` asks.

    Python's own handler does it, also while a library holds the interpreter for ever. Ray keeps an actor's standard error
    in a log of its own.
    """
    faulthandler.register(_ASK, all_threads=True, chain=False)


State = Mapping[str, Any]
"""state of one actor, as Ray's `actors(id)` returns it"""


def state_of(actor_id: str) -> State:
    """Return what Ray says of the actor with this id, in hexadecimal digits."""
    import ray._private.state

    state: State = ray._private.state.actors(actor_id)
    return state


def where_they_stand(actor_ids: Sequence[str]) -> str:
    """Ask actors, by their ids in hexadecimal digits, to write their stacks. Return a sentence on where these are, or nothing.

    A process that was stopped as a whole writes nothing. Without `show_stacks_on_signal` the process would end. This is help
    for a person: it waits 10 seconds at most for the processes, and raises nothing.
    """
    try:
        asked = _asked([state_of(actor_id) for actor_id in actor_ids])
    except Exception:
        return ""
    shown = [f"Ray's log of process {pid}, worker-*-{pid}.err" for pid in asked[:_MOST_SHOWN]]
    more = f", and in those of {len(asked) - len(shown)} more" if len(asked) > len(shown) else ""
    return f". Where its threads stood should be in {'; '.join(shown)}{more}" if shown else ""


def _asked(states: Sequence[State]) -> list[int]:
    """Ask all processes at the same time; return the ids of those that could be asked."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    calls: dict[ray.ObjectRef[Any], int] = {}
    for state in states:
        pid, node = int(state.get("Pid") or 0), str((state.get("Address") or {}).get("NodeID") or "")
        if pid and node:
            there = NodeAffinitySchedulingStrategy(node, soft=False)
            ask = ray.remote(_ask).options(num_cpus=0, max_retries=0, scheduling_strategy=there, name="stacks")
            calls[ask.remote(pid)] = pid
    done, _ = ray.wait(list(calls), num_returns=len(calls), timeout=_PATIENCE_S) if calls else ([], [])
    asked = []
    for call in done:
        with suppress(Exception):
            ray.get(call)
            asked.append(calls[call])
    return asked


def _ask(pid: int) -> None:
    os.kill(pid, _ASK)
    time.sleep(_WRITING_S)  # it is ended next, and nothing tells when it has written
