"""A sealed folder tells what became of its files: real bits flipped, files cut short and removed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.checksums import FILE, damage, seal


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "learner").mkdir()
    (tmp_path / "learner" / "rank-0").write_bytes(os.urandom(3_000_000))
    (tmp_path / "problems.json").write_text("{}")
    (tmp_path / "empty").touch()
    seal(tmp_path)
    return tmp_path


def test_an_untouched_folder_is_whole(folder: Path) -> None:
    assert damage(folder) is None


def test_a_flipped_bit_is_found_wherever_it_is(folder: Path) -> None:
    file = folder / "learner" / "rank-0"

    @given(st.integers(0, 3_000_000 * 8 - 1))
    def flipped(bit: int) -> None:
        with file.open("r+b") as content:
            content.seek(bit // 8)
            before = content.read(1)
            content.seek(bit // 8)
            content.write(bytes([before[0] ^ 1 << bit % 8]))
        assert damage(folder) == f"{file} has other content than when it was written, by its SHA-256"
        with file.open("r+b") as content:
            content.seek(bit // 8)
            content.write(before)

    flipped()
    assert damage(folder) is None


def test_files_that_are_cut_short_or_gone_are_named(folder: Path) -> None:
    os.truncate(folder / "learner" / "rank-0", 2_999_999)
    assert damage(folder) == f"{folder}/learner/rank-0 has 2999999 bytes, and had 3000000 when it was written"
    (folder / "problems.json").unlink()
    (folder / "learner" / "rank-0").unlink()
    assert damage(folder) == f"{folder}/learner/rank-0 cannot be read: No such file or directory"


def test_torn_or_missing_checksums_count_as_damage(folder: Path) -> None:
    os.truncate(folder / FILE, 20)
    assert str(damage(folder)).startswith(f"{folder / FILE} cannot be read: ")
    (folder / FILE).unlink()
    assert str(damage(folder)).startswith(f"{folder / FILE} cannot be read: FileNotFoundError")


@pytest.mark.parametrize("content", ["{}", "[" * 100_000, '{"a\\u0000": {"bytes": 1, "sha256": ""}}', "3", '{"a": 1}'])
def test_checksums_that_name_no_files_count_as_damage(folder: Path, content: str) -> None:
    (folder / FILE).write_text(content)
    assert str(damage(folder)).startswith(str(folder))
