"""Chooses the files of a working directory that a job needs, and packs them.

These are the files that git has or would take. Environments, caches, results, files with passwords and folders of models
never belong to them.
"""

from __future__ import annotations

import os
import subprocess
import zipfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath

from rich.filesize import decimal

MOST_BYTES = 100_000_000
"""of all files together, before they are packed"""

_CACHES = frozenset(
    {
        ".git",
        ".venv",
        "venv",
        "__pycache__",
        ".cache",
        ".pytest_cache",
        ".mypy_cache",
        ".ruff_cache",
        ".hypothesis",
        ".tox",
        ".ipynb_checkpoints",
        "node_modules",
    }
)
"""left out wherever they are"""
_RESULTS = frozenset({"runs", "wandb", "build", "outputs"})
"""left out at the top"""
_SECRET = (".env", ".env.*", ".netrc")
_ENVIRONMENT = "pyvenv.cfg"
_WEIGHTS = (".safetensors", ".gguf", ".bin", ".pt", ".pth", ".ckpt")
_SMALL_WEIGHTS_BYTES = 16_000_000
"""a folder with fewer bytes of weights, as a tiny model has, is uploaded"""
_LARGEST_NAMED = 5
_EARLIEST = (1980, 1, 1, 0, 0, 0)


class UploadError(ValueError):
    """The working directory cannot be uploaded. The message names what is too large."""


@dataclass(frozen=True, slots=True)
class Upload:
    """The files of a folder that a job gets."""

    folder: Path
    sizes: dict[str, int]
    """path relative to the folder -> bytes"""
    left_out: tuple[str, ...]
    """folders of models, and files with passwords, that a reader might expect to be there"""

    @property
    def size_bytes(self) -> int:
        return sum(self.sizes.values())

    def has(self, path: Path) -> bool:
        """Return whether a file, or anything in a folder, is uploaded. `path` is relative to the folder, or absolute."""
        try:
            name = (self.folder / path).resolve().relative_to(self.folder.resolve()).as_posix()
        except ValueError:  # elsewhere
            return False
        return name in self.sizes or any(one.startswith(f"{name}/") for one in self.sizes)

    def pack(self, target: Path) -> int:
        """Write the files as a zip archive, and return its bytes. Equal files give equal archives, which Ray uploads once."""
        with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
            for name in self.sizes:
                file = self.folder / name
                entry = zipfile.ZipInfo(name, _EARLIEST)
                entry.external_attr = file.stat().st_mode << 16
                archive.writestr(entry, file.read_bytes(), zipfile.ZIP_DEFLATED)
        return target.stat().st_size


def chosen(folder: Path, most_bytes: int = MOST_BYTES) -> Upload:
    """Return what a job gets of `folder`. Raises `UploadError`, which names the largest entries, if that is too much."""
    names = _known_to_git(folder)
    names = sorted(_below(folder) if names is None else names)
    sizes = {name: (folder / name).stat().st_size for name in names if _wanted(name) and (folder / name).is_file()}
    secret = [name for name in sizes if any(fnmatch(PurePosixPath(name).name, pattern) for pattern in _SECRET)]
    models, environments = _folders_of_models(sizes), _folders_of_environments(sizes)
    unwanted = {*models, *environments}
    kept = {
        name: size
        for name, size in sizes.items()
        if name not in secret and not unwanted.intersection(map(str, PurePosixPath(name).parents))
    }
    upload = Upload(folder, kept, (*(f"{model}/" for model in models), *secret))
    if upload.size_bytes > most_bytes:
        raise UploadError(_too_large(upload, most_bytes))
    if not kept:
        raise UploadError(f"{folder}: there is nothing to upload: go to the folder of the experiments")
    return upload


def _wanted(name: str) -> bool:
    parts = PurePosixPath(name).parts
    return not _CACHES.intersection(parts) and parts[0] not in _RESULTS


def _known_to_git(folder: Path) -> list[str] | None:
    """Return the files that git has, and those that it neither has nor ignores; None if git does not know the folder."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        listed = subprocess.run(command, cwd=folder, capture_output=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return [os.fsdecode(name) for name in listed.stdout.split(b"\0") if name]


def _below(folder: Path) -> Iterator[str]:
    for at, folders, files in os.walk(folder):
        below = PurePosixPath(Path(at).relative_to(folder).as_posix())
        folders[:] = [name for name in folders if _wanted(str(below / name))]
        yield from (str(below / name) for name in files)


def _folders_of_models(sizes: dict[str, int]) -> list[str]:
    weights: Counter[str] = Counter()
    for name, size in sizes.items():
        path = PurePosixPath(name)
        if path.suffix in _WEIGHTS and path.parent != PurePosixPath("."):
            weights[str(path.parent)] += size
    return sorted(folder for folder, size in weights.items() if size > _SMALL_WEIGHTS_BYTES)


def _folders_of_environments(sizes: dict[str, int]) -> list[str]:
    found = (PurePosixPath(name) for name in sizes)
    return [str(path.parent) for path in found if path.name == _ENVIRONMENT and path.parent != PurePosixPath(".")]


def _too_large(upload: Upload, most_bytes: int) -> str:
    entries: Counter[str] = Counter()
    for name, size in upload.sizes.items():
        first, *rest = PurePosixPath(name).parts
        entries[f"{first}/" if rest else first] += size
    largest = ", ".join(f"{name} {decimal(size)}" for name, size in entries.most_common(_LARGEST_NAMED))
    return (
        f"{upload.folder}: {decimal(upload.size_bytes)} are too much for an upload, of which at most {decimal(most_bytes)} make "
        f"sense. The largest: {largest}. Name in .gitignore what the run does not need; put models and data on a disk of the "
        "cluster, and give their absolute paths"
    )
