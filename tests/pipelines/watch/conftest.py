"""Folders of run directories, good and bad, and the live page in a browser."""

from __future__ import annotations

import json
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from pipelines.records.run_directory import RunDirectory
from pipelines.watch.fleet import Fleet
from pipelines.watch.server import watch_app
from tests.browser import chromium, tab
from tests.live import served_in_a_thread
from tests.pipelines.report.conftest import (
    CHAIN,
    HOSTILE,
    Record,
    metric_record,
    trace_record,
    write_collapsed_run,
    write_jsonl,
    write_run,
)

__all__ = ["CHAIN", "HOSTILE", "Record", "chromium", "metric_record", "tab", "trace_record", "write_jsonl", "write_run"]


def add_line(path: Path, record: Record) -> None:
    """Append a record as a run does."""
    with path.open("a", encoding="utf-8") as log:
        log.write(json.dumps(record) + "\n")


def hostile_traces(directory: Path) -> None:
    """Write answers that try to become markup, links, or the end of the page's text direction."""
    texts = [HOSTILE, "<svg onload=alert(1)>", "[x](javascript:alert(1))", "\u202eevil", "\x00\x1b[2J", "</p></main>"]
    write_jsonl(
        directory / "traces.jsonl",
        [trace_record(text, False, text, [("student", text), ("command", text), ("teacher", text)]) for text in texts],
    )


@pytest.fixture
def runs(tmp_path: Path) -> Iterator[Path]:
    """A folder with a finished run, a collapsed one, one that runs now, one that crashed and one that is broken."""
    folder = tmp_path / "runs"
    write_run(folder / "good", CHAIN, steps=24, every=8)
    (folder / "good" / "report.html").write_text(
        "<!doctype html><title>report</title><script>document.title = 'ran'</script>"
    )
    write_collapsed_run(folder / "collapsed")
    for name in ("live", "crashed"):
        write_run(folder / name, CHAIN, steps=24, every=8)
        (folder / name / "evaluations.jsonl").unlink()
    (folder / "crashed" / "run.lock").write_text(f"pid 4194304 on {socket.gethostname()}\n")
    (folder / "broken" / "metrics.jsonl").mkdir(parents=True)
    with RunDirectory(folder / "live"):
        yield folder
    shutil.rmtree(folder)


@contextmanager
def watched(*folders: Path) -> Iterator[str]:
    """Yield the address of the live page of some folders."""
    with served_in_a_thread(watch_app(Fleet(folders))) as url:
        yield url


@pytest.fixture
def page_of(tab: Any) -> Any:
    """Return a function that opens the live page at an address and waits until it shows something."""

    def open_page(url: str, fragment: str = "") -> Any:
        tab.open(f"{url}/{fragment}")
        tab.until("document.querySelector('main > section:not([hidden])') && document.title.includes('RelayLLM')")
        return tab

    return open_page
