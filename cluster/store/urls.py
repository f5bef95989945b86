"""URLs of run directories, and the folders of this machine that stand for them."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping
from pathlib import Path

from cluster.store.errors import StoreError

WORK_DIR = "RELAYLLM_WORK_DIR"
"""the environment variable that names the folder of working copies"""

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]+:/")
_WHOLE = re.compile(r"(?:file://(/[^/\s]+)+|(?!file:)[a-z][a-z0-9+.\-]*://[^/\s]+(/[^/\s]+)+)")
_PASSWORD = re.compile(r"[^/]+://[^/]*:[^/]*@")
_DEFAULT = "~/.cache/relayllm-ray/work"


def is_url(text: str) -> bool:
    """Return whether a text begins as a URL does, and so names no path. One slash counts too: `Path` makes one of two."""
    return _SCHEME.match(text) is not None


def checked_url(text: str) -> str:
    """Return the URL without a slash at its end. Raises ValueError if it cannot be that of a run directory."""
    url = text.strip().rstrip("/")
    if _PASSWORD.match(url):
        raise ValueError("should have no password: give it in the environment")
    if not _WHOLE.fullmatch(url):
        raise ValueError(
            "should be a folder's URL, such as s3://bucket/runs/demo, gs://bucket/demo or file:///mnt/demo"
        )
    return url


def given_url(text: str) -> str:
    """Return the URL that a user gave to a command. Raises `StoreError`."""
    try:
        return checked_url(text)
    except ValueError as error:
        raise StoreError(f"{text}: {error}") from None


def working_copy(url: str, environ: Mapping[str, str] | None = None) -> Path:
    """Return the folder in which this machine does the run at `url`."""
    return _folder(url, "runs", os.environ if environ is None else environ)


def reading_copy(url: str, environ: Mapping[str, str] | None = None) -> Path:
    """Return the folder into which this machine reads the run at `url`, which another machine may be doing."""
    return _folder(url, "read", os.environ if environ is None else environ)


def copies_have_a_place(environ: Mapping[str, str] | None = None) -> bool:
    """Return whether the user has said where working copies are."""
    return bool((os.environ if environ is None else environ).get(WORK_DIR))


def _folder(url: str, kind: str, environ: Mapping[str, str]) -> Path:
    base = Path(environ.get(WORK_DIR) or _DEFAULT).expanduser().absolute()
    return base / kind / hashlib.sha256(url.encode()).hexdigest()[:10] / url.rpartition("/")[2]
