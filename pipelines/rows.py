"""Rows of data sets: JSONL and Parquet files, folders of them, and the Hugging Face hub."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.columns import RowError

if TYPE_CHECKING:
    import pyarrow as pa

_SUFFIXES = (".jsonl", ".parquet")
_SPLIT = re.compile(r"(train|test|validation|valid|dev)(?![A-Za-z0-9])")
_ROWS_PER_BATCH = 1024


class DataError(ValueError):
    """A data set cannot be used; the message names it, and the row where one is wrong."""


@dataclass(frozen=True, slots=True)
class Row:
    """One row as it was read."""

    place: str
    """the file or data set, and the row's number in it, from 1"""
    content: str | Mapping[str, object]
    """a line of JSON, or columns"""

    def columns(self) -> Mapping[str, object]:
        """Return the row's columns. Raises `RowError`."""
        if not isinstance(self.content, str):
            return self.content
        try:
            value = json.loads(self.content)
        except (json.JSONDecodeError, RecursionError) as error:
            raise RowError(f"not JSON: {error}") from error
        if not isinstance(value, dict):
            raise RowError("should be an object with a key for each column")
        return value


def rows_of_path(path: Path, split: str | None = None, default_split: str | None = None) -> Iterator[Row]:
    """Yield the rows of a file, or of a folder's files in the order of their names. Raises `DataError`.

    Of a folder, `split` chooses the files whose names begin with it; `default_split` does so only if there are files
    named by splits.
    """
    for file in _files(path, split, default_split):
        yield from _parquet(file) if file.suffix == ".parquet" else _jsonl(file)


def rows_of_hub(name: str, config: str | None, split: str) -> Iterator[Row]:
    """Yield the rows of a data set of the Hugging Face hub, downloaded once and cached. Raises `DataError`."""
    from datasets import load_dataset
    from datasets.exceptions import DatasetsError

    try:
        dataset = load_dataset(name, config, split=split)
    except (DatasetsError, OSError, ValueError, RuntimeError) as error:
        whole = f"data set {name}, configuration {config or 'default'}, split {split}"
        raise DataError(f"{whole}: cannot be loaded: {error}; `path` names a local copy") from error
    batches = dataset.with_format("arrow").iter(_ROWS_PER_BATCH)
    yield from _numbered(f"data set {name}, split {split}", batches)


def _files(path: Path, split: str | None, default_split: str | None) -> list[Path]:
    if path.is_file():
        if path.suffix not in _SUFFIXES:
            raise DataError(f"{path}: should be a .jsonl or .parquet file, or a folder of such files")
        return [path]
    if not path.is_dir():
        raise DataError(f"{path}: no such file or folder")
    files = sorted(file for file in path.iterdir() if file.suffix in _SUFFIXES)
    if not files:
        raise DataError(f"{path}: the folder has no .jsonl and no .parquet file")
    if split is None and not any(_SPLIT.match(file.name) for file in files):
        return files
    wanted = split or default_split
    if wanted is None:
        return files
    of_split = [file for file in files if re.match(rf"{re.escape(wanted)}(?![A-Za-z0-9])", file.name)]
    if not of_split:
        raise DataError(f"{path}: no file of the split {wanted!r}; there are {', '.join(file.name for file in files)}")
    return of_split


def _jsonl(path: Path) -> Iterator[Row]:
    try:
        with path.open(encoding="utf-8", newline="\n") as file:
            for number, line in enumerate(file, start=1):
                yield Row(f"{path}, row {number}", line)
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: should be text in UTF-8: {error}") from error


def _parquet(path: Path) -> Iterator[Row]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        yield from _numbered(str(path), pq.ParquetFile(path).iter_batches(_ROWS_PER_BATCH))
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path}: cannot be read as Parquet: {error}") from error


def _numbered(source: str, batches: Iterator[pa.RecordBatch | pa.Table]) -> Iterator[Row]:
    number = 0
    for batch in batches:
        for content in batch.to_pylist():
            number += 1
            yield Row(f"{source}, row {number}", content)
