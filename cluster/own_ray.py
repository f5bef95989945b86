"""What protects a Ray that is started here: it listens on loopback alone, and only this user can read its token."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from cluster.errors import ClusterError

ALL_NETWORKS = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"
"""Ray's switch; with 0, this machine's address is 127.0.0.1 for Ray. On Windows and macOS that is Ray's default"""
_TOKENS = ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")
_MODE = "RAY_AUTH_MODE"


@contextmanager
def on_loopback() -> Iterator[None]:
    """Have a Ray that starts in this block listen on loopback alone, unless `ALL_NETWORKS` is set.

    `ray.init` takes no address of loopback: it looks for another one.
    """
    from ray._private import ray_constants

    if ALL_NETWORKS in os.environ:
        yield
        return
    before = ray_constants.ENABLE_RAY_CLUSTER
    os.environ[ALL_NETWORKS] = "0"  # for Ray's processes
    ray_constants.ENABLE_RAY_CLUSTER = False  # for this one, which may have imported Ray already
    try:
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = before
        del os.environ[ALL_NETWORKS]


def keep_token_private() -> None:
    """Make the token that a Ray started here asks for, unless there is one, and let nobody else read it.

    Ray makes a token by itself, but with the user's file mode mask. `RAY_AUTH_MODE=disabled` does without. Raises `ClusterError`.
    """
    if os.environ.get(_MODE, "token").lower() != "token" or any(os.environ.get(name) for name in _TOKENS):
        return
    path = Path.home() / ".ray" / "auth_token"
    mine = path.with_name(f".auth_token-{os.getpid()}")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not path.exists():
            with open(os.open(mine, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
                file.write(secrets.token_hex(32))
            with suppress(FileExistsError):  # another run was faster
                os.link(mine, path)
            mine.unlink()
        if path.stat().st_mode & 0o077:
            path.chmod(0o600)
    except OSError as error:
        raise ClusterError(
            f"{path}: the token of Ray cannot be kept there: {error.strerror}; set RAY_AUTH_TOKEN_PATH to a file of yours"
        ) from error
