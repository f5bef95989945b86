"""The objects below one URL. It needs what every object store has: an object appears whole, and can be made only if it is absent."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from cluster.store.errors import StoreError, explained

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

_BLOCK = 1 << 20
_PART = 16 << 20
"""bytes of one request of an upload; S3 takes 10,000 of them"""
# A push and a lease try again by themselves. More attempts below them would only hide for a minute that a store is away.
_OPTIONS: dict[str, dict[str, Any]] = {
    "file": {"auto_mkdir": True},
    "s3": {"config_kwargs": {"retries": {"total_max_attempts": 3}, "connect_timeout": 10, "read_timeout": 60}},
}


class Objects:
    """The objects below `url`, by their names. Every method raises `StoreError`."""

    def __init__(self, url: str) -> None:
        self.url = url
        scheme = url.partition("://")[0]
        with explained(url):
            import fsspec
            import fsspec.core

            if scheme not in fsspec.available_protocols():
                known = ", ".join(f"{name}://" for name in ("s3", "gs", "file"))
                raise StoreError(f"{url}: {scheme}:// is no kind of store that fsspec knows; use {known} or another")
            # An instance of its own, without a cache of listings: others write here too.
            options = {"skip_instance_cache": True, "use_listings_cache": False, **_OPTIONS.get(scheme, {})}
            files, root = fsspec.core.url_to_fs(url, **options)
            self._files: AbstractFileSystem = files
            self._root = str(root).rstrip("/")

    def read(self, name: str) -> bytes | None:
        """Return an object's content; None if there is no such object."""
        with explained(self.url):
            try:
                return bytes(self._files.cat_file(self._path(name)))
            except FileNotFoundError:
                return None

    def write(self, name: str, content: bytes) -> None:
        """Make or replace a small object."""
        with explained(self.url):
            self._files.pipe_file(self._path(name), content)

    def create(self, name: str, content: bytes) -> bool:
        """Make a small object, and return true, if none has this name. Of several that try at once, one succeeds.

        Raises `StoreError` if the store cannot do that.
        """
        if not self._create(name, content):
            return False
        if self._create(name, content):
            raise StoreError(
                f"{self.url}: this store ignores the condition that an object is new (S3: If-None-Match), so it cannot keep two "
                "drivers apart; choose another store"
            )
        return True

    def _create(self, name: str, content: bytes) -> bool:
        with explained(self.url):
            try:
                self._files.pipe_file(self._path(name), content, mode="create")
            except FileExistsError:
                return False
            except OSError as error:
                if _condition_failed(error):
                    return False
                raise
        return True

    def names(self, folder: str) -> list[str]:
        """Return the names of all objects below a folder, sorted. They begin with the folder's name."""
        with explained(self.url):
            try:
                found = self._files.find(self._path(folder))
            except FileNotFoundError:
                return []
        return sorted(str(path)[len(self._root) + 1 :] for path in found)

    def remove(self, names: Iterable[str]) -> None:
        """Remove objects. Those that are absent are no error."""
        for name in names:
            with explained(self.url):
                try:
                    self._files.rm_file(self._path(name))
                except FileNotFoundError:
                    continue

    def upload(self, name: str, file: BinaryIO, size: int) -> str:
        """Make an object of the first `size` bytes of a file, and return their SHA-256. Raises `StoreError` if there are fewer."""
        digest = hashlib.sha256()
        with explained(self.url):
            with self._files.open(self._path(name), "wb", block_size=_PART) as target:
                for block in _blocks(file, size):
                    digest.update(block)
                    target.write(block)
            if file.tell() < size:
                raise StoreError(f"{self.url}: {name} has become shorter while it was sent")
        return digest.hexdigest()

    def download(self, name: str, to: Path) -> str | None:
        """Write an object to a file, and return the file's SHA-256; None if there is no such object."""
        with explained(self.url):
            try:
                self._files.get_file(self._path(name), str(to))
            except FileNotFoundError:
                return None
        return sha256(to)

    def require(self) -> None:
        """Raise `StoreError` unless the store answers and the bucket exists. This asks for a permission that a run does not need."""
        with explained(self.url):
            bucket = self._root.partition("/")[0]
            if bucket:  # a path of the local file system has none
                self._files.info(bucket)

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}"


def _condition_failed(error: OSError) -> bool:
    """Return whether S3 says that the object exists, or that somebody is making it in this moment. s3fs tells neither apart."""
    response = getattr(error.__cause__, "response", None) or {}
    return response.get("Error", {}).get("Code") in ("PreconditionFailed", "ConditionalRequestConflict", "412", "409")


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _blocks(file: BinaryIO, size: int) -> Iterator[bytes]:
    while size > 0 and (block := file.read(min(size, _BLOCK))):
        size -= len(block)
        yield block
