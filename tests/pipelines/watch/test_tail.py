"""Logs are read piece by piece: only what is new, whole lines alone, and again from the start if the file is another one."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pipelines.watch import tail as tail_module
from pipelines.watch.tail import Budget, NotALogError, Tail

PLENTY = 1 << 30


def read(tail: Tail, left: int = PLENTY) -> list[bytes]:
    return tail.read(Budget(left)).lines


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "log.jsonl"
    path.write_bytes(b"one\ntwo\n")
    return path


def append(log: Path, text: bytes) -> None:
    with log.open("ab") as file:
        file.write(text)


def test_a_second_read_takes_only_what_was_added(log: Path) -> None:
    log.write_bytes(b"x" * 99 + b"\n" + b"y" * 899 + b"\n")
    tail, budget = Tail(log), Budget(PLENTY)
    assert len(tail.read(budget).lines) == 2 and budget.read == 1000
    assert tail.read(budget).lines == [] and budget.read == 1000
    append(log, b"three\n")
    assert tail.read(budget).lines == [b"three"] and budget.read == 1006


def test_a_half_written_line_comes_when_it_is_whole(log: Path) -> None:
    append(log, b"thr")
    tail = Tail(log)
    assert read(tail) == [b"one", b"two"] and tail.behind == 0
    append(log, b"ee\n")
    assert read(tail) == [b"three"]


def test_a_half_line_that_a_resumed_run_removes_is_never_seen(log: Path) -> None:
    append(log, b'{"half": ')
    tail = Tail(log)
    assert read(tail) == [b"one", b"two"]
    os.truncate(log, 8)
    append(log, b"a longer line than the half one\n")
    added = tail.read(Budget(PLENTY))
    assert added.lines == [b"a longer line than the half one"] and not added.restarted and added.first_line == 3


@pytest.mark.parametrize("replaced", [True, False], ids=["another file", "a shorter file"])
def test_another_file_is_read_from_its_start(log: Path, replaced: bool) -> None:
    tail = Tail(log)
    read(tail)
    if replaced:
        (new := log.with_name("new")).write_bytes(b"uno\ndos\ntres\n")
        new.replace(log)
    else:
        log.write_bytes(b"uno\n")
    added = tail.read(Budget(PLENTY))
    assert added.restarted and added.lines[0] == b"uno" and added.first_line == 1


def test_a_file_that_comes_later_and_goes_again(tmp_path: Path) -> None:
    log = tmp_path / "later.jsonl"
    tail = Tail(log)
    assert read(tail) == [] and tail.changed_at is None
    log.write_bytes(b"one\n")
    assert read(tail) == [b"one"] and tail.changed_at is not None
    log.unlink()
    assert tail.read(Budget(PLENTY)).restarted and tail.changed_at is None


def test_a_budget_ends_a_read_and_the_next_one_goes_on(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tail_module, "MOST_LINE_BYTES", 16)
    log.write_bytes(b"".join(b"%09d\n" % i for i in range(10)))
    tail, found = Tail(log), []
    first = Budget(20)
    found += tail.read(first).lines
    assert first.read == 20 and len(found) == 2 and tail.behind == 80
    assert tail.read(Budget(0)).lines == [] and tail.behind == 80
    while tail.behind:
        found += read(tail, 20)
    assert found == [b"%09d" % i for i in range(10)]


def test_a_line_without_end_is_left_out_and_takes_no_memory(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tail_module, "MOST_LINE_BYTES", 16)
    log.write_bytes(b"x" * 100 + b"\nafter\n")
    tail, lines, too_long = Tail(log), [], 0
    while True:
        added = tail.read(Budget(16))
        lines += added.lines
        too_long += added.too_long
        if not tail.behind:
            break
    assert lines == [b"after"] and too_long == 1


def test_the_end_of_a_long_log_is_read_from_a_whole_line_on(log: Path) -> None:
    log.write_bytes(b"".join(b"%09d\n" % i for i in range(1000)))
    budget = Budget(PLENTY)
    assert Tail(log, last_bytes=25).read(budget).lines == [b"%09d" % 998, b"%09d" % 999] and budget.read == 25


def test_links_folders_and_pipes_are_no_logs(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret\n")
    (tmp_path / "link").symlink_to("secret")
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    for name in ("link", "folder", "pipe"):
        with pytest.raises(NotALogError, match=f"{name}: is no plain file"):
            Tail(tmp_path / name).read(Budget(PLENTY))


def test_a_read_that_fails_is_tried_again(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tail = Tail(log)
    with monkeypatch.context() as broken:

        def pread(*_: int) -> bytes:
            raise OSError(5, "Input/output error")

        broken.setattr(os, "pread", pread)
        with pytest.raises(NotALogError, match="Input/output error"):
            read(tail)
    assert read(tail) == [b"one", b"two"]
