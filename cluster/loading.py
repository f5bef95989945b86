"""Loading large packages without the garbage collector going over them again and again."""

from __future__ import annotations

import atexit
import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def loading() -> Iterator[None]:
    """Pause the process's collector for the block, and leave what is there at the first one's end out of later collections.

    torch and vLLM make a million objects that stay as long as the process: a quarter of what importing them takes is
    looking for garbage among them, and every full collection afterwards would take a quarter of a second.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if not gc.get_freeze_count():
            gc.freeze()
            atexit.register(gc.unfreeze)  # extension modules report what is left at the end as leaks
        if was_on:
            gc.enable()
