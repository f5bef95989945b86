"""The environment variables that actors on all nodes get from the driver: for the model hub, proxies and certificates.

A function that every worker process of the job runs first sets them. They are not part of Ray's runtime environment,
because Ray writes that with all values to its logs, and tokens and proxy passwords are secrets.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping
from pathlib import Path

PREFIX = "HF_"
_HUB = ("HUGGING_FACE_HUB_TOKEN", "HUGGINGFACE_HUB_CACHE", "TRANSFORMERS_CACHE", "TRANSFORMERS_OFFLINE")
NAMES = (
    *_HUB,
    *(name for proxy in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY") for name in (proxy, proxy.lower())),
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
)
"""passed on in addition to all names that begin with `PREFIX`; docs/configuration.md has the same list"""

SET_FOR_ACTORS = frozenset({"HF_HUB_DISABLE_TELEMETRY"})
"""not passed on, because `cluster.devices` sets them for actors, whatever the driver has"""

_PATHS = frozenset(
    {
        "HF_HOME",
        "HF_HUB_CACHE",
        "HF_XET_CACHE",
        "HF_ASSETS_CACHE",
        "HF_DATASETS_CACHE",
        "HF_MODULES_CACHE",
        "HF_TOKEN_PATH",
        "HUGGINGFACE_HUB_CACHE",
        "TRANSFORMERS_CACHE",
        "SSL_CERT_FILE",
        "SSL_CERT_DIR",
        "REQUESTS_CA_BUNDLE",
        "CURL_CA_BUNDLE",
    }
)


def passed_on(environ: Mapping[str, str], folder: Path, others: Collection[str] = ()) -> dict[str, str]:
    """Return the variables of `environ` that actors get. Relative paths in them are resolved against `folder`.

    `others` are the names of more variables, such as those with API keys.
    """
    chosen = {
        name: value
        for name, value in environ.items()
        if name not in SET_FOR_ACTORS and (name.startswith(PREFIX) or name in NAMES or name in others)
    }
    return {
        name: str(folder / Path(value).expanduser()) if name in _PATHS and value else value
        for name, value in chosen.items()
    }


def is_of_the_hub(name: str) -> bool:
    """Return whether a variable is about the model hub and means the same on every machine. So it is no path."""
    return (name.startswith(PREFIX) or name in _HUB) and name not in _PATHS | SET_FOR_ACTORS


def worker_setup(variables: Mapping[str, str]) -> Callable[[], None]:
    """Return a function that sets `variables` in the worker process that runs it."""
    values = dict(variables)

    def take_the_drivers_variables() -> None:
        os.environ.update(values)

    return take_the_drivers_variables
