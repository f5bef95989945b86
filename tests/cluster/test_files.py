"""Files and folders appear whole or not at all."""

import os
from concurrent.futures import ThreadPoolExecutor
from errno import ENOSPC
from pathlib import Path

import pytest

from cluster.files import (
    FolderError,
    commit_folder,
    directory_commit,
    make_directory,
    prune,
    start_folder,
    write_atomically,
)


def test_a_failed_write_keeps_the_old_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    write_atomically(path, b"old")

    def fail(_: int) -> None:
        raise OSError(ENOSPC, os.strerror(ENOSPC))

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(FolderError, match="file: cannot be written: No space left on device"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["file"]


def test_a_file_in_the_place_of_a_folder_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "report.html").mkdir()
    with pytest.raises(FolderError, match=r"report\.html: cannot be written: Is a directory"):
        write_atomically(tmp_path / "report.html", b"new")
    assert os.listdir(tmp_path) == ["report.html"]


def test_a_directory_appears_as_a_whole_or_not_at_all(tmp_path: Path) -> None:
    final = tmp_path / "step-1"
    with directory_commit(final) as partial:
        (partial / "sub").mkdir()
        (partial / "sub/weights").write_text("w")
        assert not final.exists()
    assert (final / "sub/weights").read_text() == "w"

    def fail_halfway() -> None:
        with directory_commit(tmp_path / "step-2") as partial:
            (partial / "half").write_text("")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail_halfway()
    assert os.listdir(tmp_path) == ["step-1"]


def test_a_commit_removes_what_killed_runs_left_and_replaces_an_earlier_result(tmp_path: Path) -> None:
    (tmp_path / "export").mkdir()
    (tmp_path / "export/old").write_text("")
    (tmp_path / ".step-9.partial/sub").mkdir(parents=True)
    with directory_commit(tmp_path / "export") as partial:
        (partial / "new").write_text("")
    assert os.listdir(tmp_path) == ["export"]
    assert os.listdir(tmp_path / "export") == ["new"]


def test_a_kill_between_the_two_renames_of_a_replacement_loses_nothing(tmp_path: Path) -> None:
    (tmp_path / ".export.replaced").mkdir()
    (tmp_path / ".export.replaced/old").write_text("")
    (tmp_path / ".export.partial").mkdir()
    with directory_commit(tmp_path / "other"):
        pass
    assert sorted(os.listdir(tmp_path)) == ["export", "other"]
    assert os.listdir(tmp_path / "export") == ["old"]


def test_prune_keeps_the_last(tmp_path: Path) -> None:
    paths = [tmp_path / f"step-{step}" for step in (1, 2, 3)]
    for path in paths:
        path.mkdir()
        (path / "weights").write_text("")
    assert prune(paths, keep=5) == []
    assert prune(paths, keep=1) == paths[:2]
    assert os.listdir(tmp_path) == ["step-3"]
    with pytest.raises(ValueError, match="keep"):
        prune(paths, keep=-1)


def test_an_interrupted_writer_leaves_the_old_folder(tmp_path: Path) -> None:
    start_folder(tmp_path / "out").joinpath("value").write_text("old")
    commit_folder(tmp_path / "out")
    start_folder(tmp_path / "out").joinpath("value").write_text("half-wri")
    assert (tmp_path / "out/value").read_text() == "old"
    start_folder(tmp_path / "out").joinpath("value").write_text("new")
    commit_folder(tmp_path / "out")
    assert (tmp_path / "out/value").read_text() == "new"
    assert os.listdir(tmp_path) == ["out"]


def test_a_kill_between_the_two_renames_is_mended_by_the_next_start(tmp_path: Path) -> None:
    (tmp_path / ".out.replaced").mkdir()
    (tmp_path / ".out.replaced/value").write_text("old")
    (tmp_path / ".out.partial").mkdir()
    start_folder(tmp_path / "out")
    assert (tmp_path / "out/value").read_text() == "old"
    commit_folder(tmp_path / "out")
    assert os.listdir(tmp_path) == ["out"] and os.listdir(tmp_path / "out") == []


def test_two_writers_of_one_file_do_not_disturb_each_other(tmp_path: Path) -> None:
    contents = [bytes([letter]) * 100_000 for letter in b"ab"]

    def write(content: bytes) -> None:
        for _ in range(30):
            write_atomically(tmp_path / "file", content)
            assert (tmp_path / "file").read_bytes() in contents

    with ThreadPoolExecutor() as writers:
        list(writers.map(write, contents))
    assert os.listdir(tmp_path) == ["file"]


def test_a_folder_below_a_file_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(FolderError, match="file: the folder cannot be made: File exists"):
        make_directory(tmp_path / "file" / "folder")
