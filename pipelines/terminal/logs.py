"""The driver's log on the user's screen: this project's own messages, and only the errors of libraries."""

from __future__ import annotations

import logging
import os
import sys
import warnings
from typing import TextIO

from cluster.session import verbose

_OWN = ("pipelines", "actors", "cluster", "rewards")


class _Screen(logging.StreamHandler[TextIO]):
    """Writes to the present `sys.stderr`, since a live display replaces it for a while."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)

    @property
    def stream(self) -> TextIO:
        return sys.stderr

    @stream.setter
    def stream(self, stream: TextIO) -> None:
        raise AttributeError("the stream is always sys.stderr")


def begin_logging() -> None:
    """Send logs to the screen. Unless the run is verbose, hide libraries' notices, warnings and loading bars."""
    handler = _Screen()
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s", "%H:%M:%S"))
    if not verbose():
        handler.addFilter(_worth_showing)
        warnings.filterwarnings("ignore", category=FutureWarning)
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        warnings.filterwarnings("ignore", category=UserWarning, module=r"(torch|transformers|triton|vllm|deepspeed)\b")
        for variable in ("HF_HUB_DISABLE_PROGRESS_BARS", "HF_DATASETS_DISABLE_PROGRESS_BARS"):
            os.environ.setdefault(variable, "1")
        os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
        # At every start this logger says that the dashboard asks for a token. The README says so, too.
        logging.getLogger("ray._private.authentication").setLevel(logging.ERROR)
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)


def _worth_showing(record: logging.LogRecord) -> bool:
    return record.name.split(".")[0] in _OWN or record.levelno >= logging.ERROR
