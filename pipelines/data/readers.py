"""Rows of data sets: JSONL and Parquet files, folders of them, and the Hugging Face hub."""

from __future__ import annotations

import json
import re
import sys
from codecs import BOM_UTF8
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cluster.errors import one_line
from pipelines.data.parsing import RowError

if TYPE_CHECKING:
    import pyarrow as pa

_SUFFIXES = (".jsonl", ".parquet")
_SPLIT = re.compile(r"(train|test|validation|valid|dev)(?![A-Za-z0-9])")
_ROWS_PER_BATCH = 1024


class DataError(ValueError):
    """A data set cannot be used; the message names it, and the row if one is wrong. It is one line, whatever the data says."""

    def __init__(self, message: str) -> None:
        super().__init__(one_line(message.strip()))


@dataclass(frozen=True, slots=True)
class Row:
    """One row as it was read."""

    place: str
    """the file or data set, and the row's number in it, from 1"""
    content: bytes | Mapping[str, object]
    """a line of JSON in UTF-8, or columns"""

    def columns(self) -> Mapping[str, object]:
        """Return the row's columns. Raises `RowError`."""
        return self.content if isinstance(self.content, Mapping) else _object(self.content)


def rows_of_path(path: Path, split: str | None = None, default_split: str | None = None) -> Iterator[Row]:
    """Yield the rows of a file, or of a folder's files in the order of their names. Raises `DataError`.

    In a folder, `split` chooses the files whose names begin with it. If it is None, `default_split` does so, but only if
    some files are named by splits.
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
    try:
        return _chosen_files(path, split, default_split)
    except OSError as error:  # no permission, or a name that is too long
        raise DataError(f"{path}: cannot be read: {error.strerror}") from error


def _chosen_files(path: Path, split: str | None, default_split: str | None) -> list[Path]:
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
        with path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                yield Row(f"{path}, row {number}", line.removeprefix(BOM_UTF8) if number == 1 else line)
    except OSError as error:  # a folder or a broken link with this name, no permission, or a disk that fails
        raise DataError(f"{path}: cannot be read: {error.strerror}") from error


def _object(line: bytes) -> Mapping[str, object]:
    """Return the columns of a line of JSON. Raises `RowError`."""
    try:
        text = line.decode()
    except UnicodeDecodeError as error:
        raise RowError(f"should be text in UTF-8: {error.reason} at byte {error.start + 1}") from error
    if not text.strip():
        raise RowError("not JSON: the line is empty")
    try:
        value = json.loads(text, object_pairs_hook=_each_key_once)
    except json.JSONDecodeError as error:
        raise RowError(f"not JSON: {error.msg} at character {error.pos + 1}") from error
    except RecursionError as error:
        raise RowError("not JSON that can be read: it is nested too deeply") from error
    except RowError:
        raise
    except ValueError as error:
        raise RowError(
            f"not JSON that can be read: an integer has more than {sys.get_int_max_str_digits()} digits"
        ) from error
    if not isinstance(value, dict):
        raise RowError("should be an object with a key for each column")
    return value


def _each_key_once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise RowError(f"has the key {next(name for name in names if names.count(name) > 1)!r} twice")
    return found


def _parquet(path: Path) -> Iterator[Row]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        yield from _numbered(str(path), pq.ParquetFile(path).iter_batches(_ROWS_PER_BATCH))
    except DataError:
        raise
    except (
        pa.ArrowException,
        OSError,
        ValueError,
        ArithmeticError,
        LookupError,
    ) as error:  # a name that is not UTF-8, too
        raise DataError(f"{path}: cannot be read as Parquet: {error}") from error


def _numbered(source: str, batches: Iterator[pa.RecordBatch | pa.Table]) -> Iterator[Row]:
    number = 0
    for batch in batches:
        for content in _columns(batch, source, number):
            number += 1
            yield Row(f"{source}, row {number}", content)


def _columns(batch: pa.RecordBatch | pa.Table, source: str, before: int) -> list[dict[str, object]]:
    import pyarrow as pa

    names = batch.schema.names
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise DataError(f"{source}: column {twice!r} is there twice: leave one of the two out")
    try:
        rows: list[dict[str, object]] = batch.to_pylist()
    except (ValueError, OverflowError, ArithmeticError) as error:
        place = f"{source}, rows {before + 1} to {before + batch.num_rows}"
        raise DataError(f"{place}: a value cannot be read: {error}") from error
    for name in (
        field.name for field in batch.schema if pa.types.is_floating(field.type) and field.type.bit_width < 64
    ):
        for row in rows:
            row[name] = _shortest(row[name])
    return rows


def _shortest(value: object) -> object:
    """Return the shortest form of a number from a 32-bit or 16-bit column: 0.1, not the stored 0.10000000149011612."""
    import numpy as np

    return value if value is None else float(str(np.float32(value)))  # type: ignore[arg-type]
