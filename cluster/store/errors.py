"""What can be wrong with a URL and its store, in one line for the person who gave it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from cluster.errors import RunError

_PACKAGES = {"s3": "s3", "s3a": "s3", "gs": "gs", "gcs": "gs"}
"""the extra of this project that has the package of a kind of store"""
_UNREACHABLE = ("EndpointConnectionError", "ConnectTimeoutError", "ReadTimeoutError", "ClientConnectorError")
_NO_CREDENTIALS = (
    "NoCredentialsError",
    "PartialCredentialsError",
    "DefaultCredentialsError",
    "CredentialRetrievalError",
)


class StoreError(RuntimeError):
    """A store cannot be used as asked. The message names the URL, what is wrong, and what to do."""


class NotStoredError(RunError):
    """The run has ended, and not all of it is at its URL. The message says where it is."""


@contextmanager
def explained(url: str) -> Iterator[None]:
    """Raise all errors of the block as `StoreError`. Each store has a library with exceptions of its own, so all are caught."""
    try:
        yield
    except StoreError:
        raise
    except Exception as error:
        raise StoreError(f"{url}: {_reason(error, url)}") from error


def _reason(error: Exception, url: str) -> str:
    scheme, kinds = url.partition("://")[0], {kind.__name__ for kind in type(error).__mro__}
    text = " ".join(str(error).split())[:300]
    if isinstance(error, ImportError):
        extra = _PACKAGES.get(scheme)
        remedy = f"pip install 'relayllm-ray[{extra}]'" if extra else "install it"
        return f"the package for {scheme}:// is missing ({text}): {remedy}"
    if kinds.intersection(_NO_CREDENTIALS):
        return f"there are no credentials ({text}): {_remedy(scheme)}"
    if isinstance(error, PermissionError):
        return f"the store refuses ({text}): check the permissions, or {_remedy(scheme)}"
    if isinstance(error, FileNotFoundError):
        return f"there is no such bucket or folder ({text}): create it, or correct the URL"
    if isinstance(error, ConnectionError | TimeoutError) or kinds.intersection(_UNREACHABLE):
        return f"the store cannot be reached ({text}): check the network and the store's address"
    if isinstance(error, NotImplementedError):
        return f"files of {scheme}:// can be read only; choose another kind of store"
    return f"the store failed: {type(error).__name__}: {text}"


def _remedy(scheme: str) -> str:
    if _PACKAGES.get(scheme) == "s3":
        return "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE"
    if _PACKAGES.get(scheme) == "gs":
        return "set GOOGLE_APPLICATION_CREDENTIALS"
    return "give the credentials that this kind of store takes"
