"""The objects of a lease in a folder, on a local disk or NFS."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from cluster.files import PARTIAL
from cluster.store.errors import StoreError

_BOOT = Path("/proc/sys/kernel/random/boot_id")


def boot_id() -> str:
    """Return what names this kernel since it started. A file lock reaches all its processes."""
    return _BOOT.read_text(encoding="ascii").strip()


class FolderObjects:
    """Files below `root`, which is not made again if somebody has moved it away."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def names(self, folder: str) -> list[str]:
        """Return the files in a folder below the root, sorted."""
        try:
            found = os.listdir(self._root / folder)
        except FileNotFoundError:
            return []
        except OSError as error:
            raise StoreError(f"{self._root / folder}: cannot be read: {error.strerror}") from error
        return sorted(f"{folder}/{name}" for name in found if not name.endswith(PARTIAL))

    def read(self, name: str) -> bytes | None:
        """Return a file's content; None if there is no such file."""
        try:
            return (self._root / name).read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StoreError(f"{self._root / name}: cannot be read: {error.strerror}") from error

    def create(self, name: str, content: bytes) -> bool:
        """Make a file if there is none of this name, and return whether it did. NFS lets one of several succeed."""
        with self._writing(name) as path:
            path.parent.mkdir(exist_ok=True)
            try:
                file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
            except FileExistsError:
                return False
            with os.fdopen(file, "wb") as stream:
                stream.write(content)
        return True

    def write(self, name: str, content: bytes) -> None:
        """Replace a file as a whole. Does nothing if its folder is gone: somebody has moved the run."""
        with self._writing(name) as path, suppress(FileNotFoundError):
            partial = path.with_name(f".{path.name}{PARTIAL}")
            partial.write_bytes(content)
            partial.replace(path)

    def remove(self, names: Iterable[str]) -> None:
        """Remove files. Those that are absent are no error."""
        for name in names:
            with self._writing(name) as path:
                path.unlink(missing_ok=True)

    @contextmanager
    def _writing(self, name: str) -> Iterator[Path]:
        try:
            yield self._root / name
        except OSError as error:
            raise StoreError(f"{self._root / name}: cannot be written: {error.strerror}") from error
