"""What counts as a URL of a run directory."""

from pathlib import Path

import pytest

from cluster.store.urls import checked_url, is_url, reading_copy, working_copy


@pytest.mark.parametrize("text", ["s3://bucket/run", "gs://bucket/a/b", "file:///mnt/run", "s3:/bucket/run"])
def test_urls_are_told_from_paths(text: str) -> None:
    assert is_url(text)


@pytest.mark.parametrize("text", ["runs/demo", "/shared/runs", "~/runs", "a:b", "x", "grpo:/x"[4:]])
def test_paths_are_no_urls(text: str) -> None:
    assert not is_url(text)


def test_a_url_has_no_slash_at_its_end() -> None:
    assert checked_url("s3://bucket/runs/demo/") == "s3://bucket/runs/demo"


@pytest.mark.parametrize("text", ["s3://", "s3://bucket", "s3://bucket/", "s3:/bucket/a", "file://host", "s3://b/a b"])
def test_what_names_no_folder_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="should be a folder's URL, such as s3://bucket/runs/demo"):
        checked_url(text)


def test_a_password_in_a_url_is_refused() -> None:
    with pytest.raises(ValueError, match="no password"):
        checked_url("s3://me:secret@bucket/runs/demo")


def test_copies_are_named_by_the_url_and_lie_where_the_variable_says(tmp_path: Path) -> None:
    environ = {"RELAYLLM_WORK_DIR": str(tmp_path)}
    copies = {
        working_copy("s3://a/demo", environ),
        working_copy("s3://b/demo", environ),
        reading_copy("s3://a/demo", environ),
    }
    assert len(copies) == 3
    assert all(copy.name == "demo" and copy.is_relative_to(tmp_path) for copy in copies)
    assert working_copy("s3://a/demo", {}).is_relative_to(Path.home() / ".cache/relayllm-ray")
