"""Rows come from JSONL and Parquet files, from folders of them, and from `load_dataset`."""

import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.data.parsing import RowError
from pipelines.data.readers import DataError, rows_of_hub, rows_of_path


def write(path: Path, *questions: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".parquet":
        pq.write_table(pa.table({"question": list(questions)}), path)
    else:
        path.write_text("".join(f'{{"question": "{question}"}}\n' for question in questions), encoding="utf-8")
    return path


def questions(path: Path, split: str | None = None, default_split: str | None = None) -> list[object]:
    return [row.columns()["question"] for row in rows_of_path(path, split, default_split)]


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_rows_of_a_file_are_numbered_from_1(tmp_path: Path, suffix: str) -> None:
    path = write(tmp_path / f"a{suffix}", "one", "two")
    assert [row.place for row in rows_of_path(path)] == [f"{path}, row 1", f"{path}, row 2"]
    assert questions(path) == ["one", "two"]


def test_a_column_that_is_there_twice_is_refused_in_parquet_too(tmp_path: Path) -> None:
    table = pa.Table.from_arrays([pa.array(["q"]), pa.array(["1"]), pa.array(["2"])], ["question", "answer", "answer"])
    pq.write_table(table, path := tmp_path / "a.parquet")
    with pytest.raises(DataError, match="column 'answer' is there twice"):
        list(rows_of_path(path))


def test_files_of_a_folder_follow_their_names_and_others_are_left(tmp_path: Path) -> None:
    write(tmp_path / "b.jsonl", "two")
    write(tmp_path / "a.parquet", "one")
    (tmp_path / "README.md").write_text("none")
    assert questions(tmp_path) == ["one", "two"]


def test_a_split_chooses_files_by_the_beginning_of_their_names(tmp_path: Path) -> None:
    write(tmp_path / "train-00000-of-00001.parquet", "train")
    write(tmp_path / "test-00000-of-00002.parquet", "first")
    write(tmp_path / "test-00001-of-00002.parquet", "second")
    write(tmp_path / "test2.jsonl", "other")
    assert questions(tmp_path, "test") == questions(tmp_path, None, "test") == ["first", "second"]
    assert questions(tmp_path, "train", "test") == ["train"]
    with pytest.raises(DataError, match="no file of the split 'dev'; there are test-00000"):
        questions(tmp_path, "dev")


def test_a_usual_split_does_not_hide_files_that_are_named_otherwise(tmp_path: Path) -> None:
    write(tmp_path / "gsm8k.jsonl", "one")
    assert questions(tmp_path, None, "test") == ["one"]


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken.parquet").write_text("no")
    for name, right in (
        ("absent.jsonl", "no such file or folder"),
        ("empty", "the folder has no .jsonl and no .parquet file"),
        ("broken.parquet", "cannot be read as Parquet"),
    ):
        with pytest.raises(DataError, match=right) as caught:
            questions(tmp_path / name)
        assert str(caught.value).startswith(str(tmp_path / name))
    (tmp_path / "a.csv").write_text("question")
    with pytest.raises(DataError, match=r"should be a \.jsonl or \.parquet file"):
        questions(tmp_path / "a.csv")


def test_a_file_of_a_folder_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    for name in ("folders", "links"):
        (tmp_path / name).mkdir()
    (tmp_path / "folders" / "a.jsonl").mkdir()
    (tmp_path / "links" / "a.jsonl").symlink_to("nowhere")
    for path, right in (
        (tmp_path / "folders", "folders/a.jsonl: cannot be read: Is a directory"),
        (tmp_path / "links", "links/a.jsonl: cannot be read: No such file or directory"),
        (tmp_path / ("x" * 300), "x: cannot be read: File name too long"),
    ):
        with pytest.raises(DataError, match=right):
            questions(path)


def test_a_byte_order_mark_is_no_part_of_the_first_row(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(b'\xef\xbb\xbf{"question": "one"}\r\n{"question": "two"}\r\n')
    assert questions(tmp_path / "a.jsonl") == ["one", "two"]


@pytest.mark.parametrize(
    ("line", "right"),
    [
        (b'{"question": "caf\xe9"}', "should be text in UTF-8: invalid continuation byte at byte 18"),
        (b'{"question": ' + b"9" * 5000 + b"}", "an integer has more than 4300 digits"),
        (b'{"question": "a", "question": "b"}', "has the key 'question' twice"),
        (b'{"question": {"a": 1, "a": 2}}', "has the key 'a' twice"),
        (b"[" * 100_000, "nested too deeply"),
        (b"  ", "the line is empty"),
        (b'{"question": "a"} {}', "Extra data at character 19"),
    ],
)
def test_a_line_that_is_no_row_says_why_and_the_others_are_read(tmp_path: Path, line: bytes, right: str) -> None:
    (tmp_path / "a.jsonl").write_bytes(b'{"question": "one"}\n' + line + b'\n{"question": "three"}\n')
    first, second, third = rows_of_path(tmp_path / "a.jsonl")
    assert (first.columns(), third.columns()) == ({"question": "one"}, {"question": "three"})
    with pytest.raises(RowError, match=re.escape(right)):
        second.columns()


@pytest.mark.parametrize("kind", [pa.float16(), pa.float32(), pa.float64()])
def test_a_number_is_read_as_it_is_written_whatever_its_width(tmp_path: Path, kind: pa.DataType) -> None:
    written = pa.array(np.array([0.5, 0.25, 3.0]), kind)
    pq.write_table(pa.table({"question": written}), tmp_path / "a.parquet")
    assert questions(tmp_path / "a.parquet") == [0.5, 0.25, 3.0]
    pq.write_table(pa.table({"question": pa.array([0.1, None], pa.float32())}), tmp_path / "b.parquet")
    assert questions(tmp_path / "b.parquet") == [0.1, None]


def test_text_in_a_parquet_file_that_is_not_utf8_is_named_with_its_rows(tmp_path: Path) -> None:
    broken = pa.Array.from_buffers(pa.string(), 1, pa.array([b"\xff"]).buffers())
    pq.write_table(pa.table({"question": broken}), tmp_path / "a.parquet")
    with pytest.raises(DataError, match=r"a\.parquet, rows 1 to 1: a value cannot be read: .*utf-8"):
        questions(tmp_path / "a.parquet")


def test_only_newlines_separate_rows(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", "a\u2028b\x85c", "d")
    assert questions(path) == ["a\u2028b\x85c", "d"]


def test_the_hubs_loader_reads_a_data_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    write(tmp_path / "set" / "main" / "test-00000-of-00001.parquet", "one", "two")
    (tmp_path / "set" / "README.md").write_text(
        "---\nconfigs:\n- config_name: main\n  data_files:\n  - split: test\n    path: main/test-*\n---\n"
    )
    rows = list(rows_of_hub(str(tmp_path / "set"), "main", "test"))
    assert [row.columns()["question"] for row in rows] == ["one", "two"]
    assert rows[1].place == f"data set {tmp_path / 'set'}, split test, row 2"


def test_a_data_set_that_cannot_be_loaded_is_named_with_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*arguments: object, **keys: object) -> None:
        raise ConnectionError("no network")

    monkeypatch.setattr("datasets.load_dataset", offline)
    with pytest.raises(DataError, match=r"data set openai/gsm8k, .* no network; `path` names a local copy"):
        list(rows_of_hub("openai/gsm8k", "main", "test"))
