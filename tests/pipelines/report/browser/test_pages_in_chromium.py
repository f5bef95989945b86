"""Both reports, opened in a browser: they ask for nothing, their viewers filter, and they fit their screens."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from pipelines.report.comparison import write_comparison
from pipelines.report.run.page import render
from pipelines.report.run.reading import read_run
from tests.browser import FAINT_TEXTS, OVERFLOW

SHOWN = "Array.from(document.querySelectorAll('article:not([hidden])'), (one) => one.textContent)"
STATUS = "document.getElementById('shown').textContent"

HOLES = {
    "script": "<script>window.hacked = 1</script>",
    "handler": '<img src="data:," onerror="window.hacked = 1">',
    "svg": '<svg onload="window.hacked = 1"><script>window.hacked = 1</script></svg>',
    "style": "<style>body { color: rgb(1, 2, 3) !important; background: url(ELSEWHERE/x) }</style>",
    "attribute": '<p style="background: url(ELSEWHERE/x)">x</p>',
    "other places": '<iframe src="ELSEWHERE"></iframe><link rel="stylesheet" href="ELSEWHERE/x">',
}


@pytest.fixture(scope="module")
def comparison(make_study, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("study")
    return write_comparison(make_study(directory / "runs"), directory / "report.html")


def test_comparison_opens_without_errors_and_asks_for_nothing(tab, comparison: Path, address) -> None:
    tab.open(address(comparison))
    assert tab.evaluate("document.images.length") == 3
    assert tab.evaluate("Array.from(document.images).every((image) => image.naturalWidth > 0)")
    assert [request for request in tab.requests if not request.startswith("data:")] == [address(comparison)]
    assert tab.errors == []


@pytest.mark.parametrize(
    ("fragment", "count", "texts"),
    [
        ("", 42, ()),
        ("#system=relay", 6, ("I, relay, say ",)),
        ("#system=relay&kind=long%2Fhard&verdict=wrong", 1, ("problem of long/hard for relay",)),
        ("#calls=with", 6, ("I, relay, say ",)),
        ("#search=OF+PLAIN+FOR+citer", 2, ("problem of plain for citer@0.5",)),
        ("#system=nobody&verdict=correct", 21, ("correct",)),
        ("#search=no+such+text", 0, ()),
    ],
)
def test_the_viewer_shows_what_its_address_says(
    tab, comparison: Path, address, fragment: str, count: int, texts
) -> None:
    tab.open(address(comparison, fragment))
    shown = tab.evaluate(SHOWN)
    assert len(shown) == count
    assert all(text in one for one in shown for text in texts)
    assert tab.evaluate(STATUS) == f"{count} of 42"
    assert tab.evaluate("document.getElementById('nothing').hidden") == (count > 0)


def test_the_viewer_is_worked_by_keyboard_and_writes_its_address(tab, comparison: Path, address) -> None:
    tab.open(address(comparison))
    tab.evaluate("document.getElementById('system').focus()")
    for _ in range(4):
        tab.press("Tab")
    assert tab.evaluate("document.activeElement.id") == "search"
    tab.write("for grpo")
    assert tab.evaluate(STATUS) == "6 of 42"
    assert tab.evaluate("location.hash") == "#search=for+grpo"
    tab.evaluate("location.hash = '#system=base'")
    assert tab.evaluate("new Promise((done) => setTimeout(() => done(document.getElementById('search').value)))") == ""
    assert tab.evaluate(STATUS) == "6 of 42"
    assert all("I, base, say" in text for text in tab.evaluate(SHOWN))
    assert tab.errors == []


def test_hostile_texts_of_a_study_do_nothing(tab, comparison: Path, address) -> None:
    tab.open(address(comparison, "#system=relay"))
    assert all("<script>alert(1)</script>" in text for text in tab.evaluate(SHOWN))
    assert tab.evaluate("document.querySelectorAll('main script, main img[src=x]').length") == 0
    assert tab.errors == []


def asked_of(server: socket.socket) -> bytes:
    """Return what a browser has asked for. It may connect and ask for nothing."""
    try:
        connection, _ = server.accept()
        connection.settimeout(0.2)
        return connection.recv(100)
    except (BlockingIOError, TimeoutError):
        return b""


@pytest.mark.parametrize("hole", HOLES.values(), ids=HOLES)
def test_what_gets_past_the_escaping_still_does_nothing(
    tab, comparison: Path, address, tmp_path: Path, hole: str
) -> None:
    page = tmp_path / "report.html"
    with socket.create_server(("127.0.0.1", 0)) as elsewhere:
        elsewhere.setblocking(False)
        hole = hole.replace("ELSEWHERE", f"http://127.0.0.1:{elsewhere.getsockname()[1]}")
        page.write_text(comparison.read_text().replace("<main>", f"<main>{hole}", 1))
        tab.open(address(page))
        assert asked_of(elsewhere) == b""
    assert tab.evaluate("typeof window.hacked") == "undefined"
    assert tab.evaluate("getComputedStyle(document.body).color") != "rgb(1, 2, 3)"
    assert tab.evaluate(STATUS) == "42 of 42"


@pytest.mark.parametrize("width", [360, 800, 1400])
def test_only_tables_and_figures_scroll_sideways(tab, comparison: Path, address, width: int) -> None:
    tab.resize(width)
    tab.open(address(comparison))
    assert tab.evaluate(OVERFLOW) == 0
    wide = "Array.from(document.querySelectorAll('.scroll')).some((one) => one.scrollWidth > one.clientWidth)"
    assert tab.evaluate(wide) == (width < 1000)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_texts_stand_out_from_their_ground(tab, comparison: Path, address, scheme: str) -> None:
    tab.prefer(scheme)
    tab.open(address(comparison))
    assert tab.evaluate(FAINT_TEXTS) == []


def test_a_runs_report_opens_without_errors_and_filters_its_traces(tab, chain_run: Path, address) -> None:
    page = chain_run / "report.html"
    page.write_text(render(read_run(chain_run), figures=[]))
    tab.open(address(page))
    assert tab.evaluate(STATUS) == "3 of 3"
    tab.evaluate("document.getElementById('kind').focus()")
    tab.press("ArrowDown")
    assert tab.evaluate(STATUS) == "1 of 3"
    assert tab.evaluate("location.hash") == "#kind=teacher_known"
    tab.open(address(page, "#verdict=wrong"))
    assert ["start 3, then: fog 12" in text for text in tab.evaluate(SHOWN)] == [True]
    for scheme in ("light", "dark"):
        tab.prefer(scheme)
        assert tab.evaluate(FAINT_TEXTS) == []
    assert [request for request in tab.requests if request.startswith(("http", "ws"))] == []
    assert tab.errors == []
