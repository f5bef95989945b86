"""Manifests: what a run consists of at its URL. Readers take only what the newest manifest names.

Object stores have no rename, so nothing is overwritten: each version of a file is an object of its own, all are uploaded first, and
a new manifest last. A manifest that is torn, as one on a file system may be, does not count.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass

from cluster.store.errors import StoreError
from cluster.store.objects import Objects

FOLDER, FILES = "manifests", "files"
_VERSION = 1
_KEPT = 2
"""manifests, and the objects that they name, that stay: somebody may be reading the one before the newest"""


@dataclass(frozen=True, slots=True)
class Stored:
    """One version of one file at the URL."""

    object: str
    size_bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """The files of a run at one moment, by their paths in the run directory. A later one has a greater (term, serial)."""

    term: int
    """of the lease under which it was written: a driver that lost its lease cannot replace what a later one wrote"""
    serial: int
    files: Mapping[str, Stored]

    @property
    def name(self) -> str:
        return f"{FOLDER}/{self.term:08d}-{self.serial:08d}.json"

    def written(self) -> bytes:
        files = {path: asdict(stored) for path, stored in sorted(self.files.items())}
        content = {"version": _VERSION, "term": self.term, "serial": self.serial, "files": files}
        return json.dumps(content, indent=1).encode()

    @classmethod
    def read(cls, content: bytes, name: str) -> Manifest | None:
        """Return the manifest; None if it is torn. Raises `StoreError` if another version of this project wrote it."""
        try:
            found = json.loads(content)
        except ValueError:
            return None
        if not isinstance(found, dict) or found.get("version") != _VERSION:
            raise StoreError(f"{name}: is no manifest that this version can read; use the version that wrote it")
        files = {path: Stored(**stored) for path, stored in found["files"].items()}
        return cls(found["term"], found["serial"], files)


def newest_manifest(objects: Objects) -> Manifest | None:
    """Return the newest whole manifest; None if there is none."""
    for name in reversed(objects.names(FOLDER)):
        content = objects.read(name)
        if content is not None and (found := Manifest.read(content, f"{objects.url}/{name}")):
            return found
    return None


def write_manifest(objects: Objects, manifest: Manifest) -> None:
    """Make what the manifest names the run's content, at once and as a whole."""
    objects.write(manifest.name, manifest.written())


def remove_unnamed(objects: Objects, newest: Manifest, before: Manifest | None, present: Iterable[str]) -> None:
    """Remove objects of `present`, and manifests, that belong to neither of the two newest states."""
    named = {stored.object for manifest in (newest, before) if manifest for stored in manifest.files.values()}
    objects.remove(name for name in present if name not in named)
    objects.remove(objects.names(FOLDER)[:-_KEPT])
