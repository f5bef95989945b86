"""The driver's variables that its actors get as well, on whatever node they are: hub, proxies, certificates.

They travel in a function that every worker process of the job runs first, and not in Ray's runtime environment: Ray
writes the latter, with all values, to its logs, and tokens and proxies with a password are secrets.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

PREFIX = "HF_"
NAMES = (
    "HUGGING_FACE_HUB_TOKEN",
    "HUGGINGFACE_HUB_CACHE",
    "TRANSFORMERS_CACHE",
    "TRANSFORMERS_OFFLINE",
    *(name for proxy in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY") for name in (proxy, proxy.lower())),
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
)
"""passed on beside all that begin with `PREFIX`; docs/configuration.md has the same list"""

SET_FOR_ACTORS = frozenset({"HF_HUB_DISABLE_TELEMETRY"})
"""by `cluster.devices`, whatever the driver has"""

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


def passed_on(environ: Mapping[str, str], folder: Path) -> dict[str, str]:
    """Return the variables of `environ` that actors get; relative paths in them are taken from `folder`."""
    chosen = {
        name: value
        for name, value in environ.items()
        if name not in SET_FOR_ACTORS and (name.startswith(PREFIX) or name in NAMES)
    }
    return {
        name: str(folder / Path(value).expanduser()) if name in _PATHS and value else value
        for name, value in chosen.items()
    }


def worker_setup(variables: Mapping[str, str]) -> Callable[[], None]:
    """Return the function that gives `variables` to the worker process that runs it."""
    values = dict(variables)

    def take_the_drivers_variables() -> None:
        os.environ.update(values)

    return take_the_drivers_variables
