"""Imports large packages with the garbage collector paused, so that it does not scan them again and again."""

from __future__ import annotations

import atexit
import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def loading() -> Iterator[None]:
    """Pause the garbage collector for the block. The first block also excludes all present objects from later collections.

    torch and vLLM make a million objects that live as long as the process. Looking for garbage among them takes a quarter of
    the import time, and would take a quarter of a second in every later full collection.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if not gc.get_freeze_count():
            gc.freeze()
            atexit.register(gc.unfreeze)  # otherwise extension modules report these objects as leaks at exit
        if was_on:
            gc.enable()
