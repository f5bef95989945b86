"""The live page in Chromium: all runs, one run, two runs; by keyboard, dark and narrow; it updates by itself."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipelines.watch.fleet import Fleet
from tests.browser import FAINT_TEXTS, OVERFLOW
from tests.pipelines.watch.conftest import add_line, hostile_traces, metric_record, trace_record, watched

VISIBLE = "Array.from(document.querySelectorAll('main > section'), (one) => one.hidden ? '' : one.id).join('')"


@pytest.fixture
def url(runs: Path) -> Iterator[str]:
    hostile_traces(runs / "good")
    with watched(runs) as address:
        yield address


@pytest.fixture
def ids(runs: Path) -> dict[str, str]:
    return {run.label: run.id for run in Fleet([runs]).refresh().runs}


def focused(tab: Any) -> str:
    return tab.evaluate("document.activeElement.textContent || document.activeElement.getAttribute('aria-label')")


def tab_to(tab: Any, text: str) -> None:
    for _ in range(60):
        tab.press("Tab")
        if focused(tab) == text:
            return
    raise AssertionError(f"no Tab reaches {text!r}")


def test_all_runs_stand_in_order_with_alarms_and_sparklines(url: str, page_of: Any) -> None:
    tab = page_of(url)
    tab.until("document.querySelectorAll('.run').length === 5")
    texts = tab.evaluate("Array.from(document.querySelectorAll('.attention .run'), (one) => one.innerText).join(' | ')")
    assert "alarm cut_off" in texts and "stopped" in texts and "broken" in texts and "good" not in texts
    assert tab.evaluate("document.querySelectorAll('.run .spark path').length") > 8
    assert tab.evaluate("document.querySelector('.group.running .run h3').textContent") == "live"
    assert tab.errors == [] and all(asked.startswith((url, "data:", "about:")) for asked in tab.requests)


def test_a_line_that_is_appended_shows_by_itself(url: str, runs: Path, ids: dict[str, str], page_of: Any) -> None:
    import numpy as np

    tab = page_of(url, f"#run={ids['live']}")
    tab.until("document.querySelectorAll('.chart').length > 8")
    tab.evaluate("document.querySelector('.chart svg[role=img]').focus()")
    add_line(runs / "live" / "metrics.jsonl", metric_record(97, 100, np.random.default_rng(1)))
    tab.until("document.querySelector('.chart svg[role=img]').getAttribute('aria-label').includes('at step 97')")
    assert tab.evaluate("document.activeElement.getAttribute('role')") == "img"
    add_line(runs / "live" / "traces.jsonl", trace_record("known", True, "a new question", [("teacher", "forty-two")]))
    tab.until("document.querySelector('.answer .problem').textContent === 'a new question'")
    assert tab.evaluate("document.querySelector('.answer mark.teacher').textContent") == "forty-two"
    assert tab.errors == []


def test_a_new_alarm_and_a_new_run_are_said(url: str, runs: Path, page_of: Any) -> None:
    tab = page_of(url)
    tab.until("document.querySelectorAll('.run').length === 5")
    event = {"event": "began", "alarm": "failed_calls", "where": "grpo", "step": 24, "value": 0.2, "threshold": 0.02}
    add_line(runs / "live" / "alarms.jsonl", event)
    tab.until("document.getElementById('status').textContent.includes('live: alarm failed_calls')")
    assert "alarm failed_calls" in tab.evaluate("document.querySelector('.attention').innerText")


def test_alarms_stand_first_on_the_page_of_a_bad_run(url: str, ids: dict[str, str], page_of: Any) -> None:
    tab = page_of(url, f"#run={ids['collapsed']}")
    tab.until("document.querySelector('.attention.card')")
    text = tab.evaluate("document.getElementById('run').innerText")
    assert text.index("answers that end at a limit") < text.index("Curves") and "What to do: " in text
    assert tab.evaluate("document.querySelectorAll('.chart .mark').length") > 1


def test_hostile_answers_are_shown_as_text(url: str, ids: dict[str, str], page_of: Any) -> None:
    tab = page_of(url, f"#run={ids['good']}")
    tab.until("document.querySelectorAll('.answer').length === 6")
    text = tab.evaluate("document.querySelector('.answers .answer:last-child').textContent")
    assert "<script>alert(1)</script>" in text and "<img src=x onerror=alert(2)>" in text
    assert (
        tab.evaluate("document.querySelectorAll('.answers script, .answers img, .answers a, .answers svg').length") == 0
    )
    assert "[U+202E]evil" in tab.evaluate("document.querySelector('.answers').textContent")
    assert tab.errors == []


def test_two_runs_are_compared_by_keyboard_alone(url: str, ids: dict[str, str], page_of: Any) -> None:
    tab = page_of(url)
    tab.until("document.querySelectorAll('.run').length === 5")
    for label in ("Compare collapsed", "Compare good"):
        tab_to(tab, label)
        tab.press("Space")
    tab.until("!document.getElementById('compare').disabled")
    tab.evaluate("document.querySelector('[type=search]').focus()")
    tab.press("Tab")
    tab.press("Enter")
    tab.until(f"{VISIBLE} === 'comparison' && document.querySelectorAll('#comparison .chart').length > 8")
    assert tab.evaluate("document.querySelectorAll('.half').length") == 2
    assert "points" in tab.evaluate("document.querySelector('#comparison table').innerText")
    assert tab.evaluate("document.querySelector('.chart path[stroke-dasharray]') !== null")
    assert "1: rollouts" in tab.evaluate("document.querySelector('#comparison .chart .key').textContent")
    assert tab.errors == []


def test_the_arrow_keys_read_values_out_of_a_chart(url: str, ids: dict[str, str], page_of: Any) -> None:
    tab = page_of(url, f"#run={ids['good']}")
    tab.until("document.querySelectorAll('.chart').length > 8")
    tab.evaluate("document.querySelector('.chart svg[role=img]').focus()")
    tab.press("ArrowLeft")
    assert tab.evaluate("document.querySelector('.chart .said').textContent").startswith("step 24: rollouts ")
    tab.press("ArrowLeft")
    assert tab.evaluate("document.querySelector('.chart .said').textContent").startswith("step 23: rollouts ")


def test_the_report_opens_from_the_page_of_its_run(url: str, ids: dict[str, str], page_of: Any) -> None:
    tab = page_of(url, f"#run={ids['good']}")
    address = tab.until("document.querySelector('.links a')?.href")
    tab.open(address)
    assert tab.evaluate("document.title") == "ran" and tab.evaluate("origin") == "null"


def test_a_server_that_is_gone_is_said_and_the_page_stays(runs: Path, page_of: Any) -> None:
    with watched(runs) as url:
        tab = page_of(url)
        tab.until("document.querySelectorAll('.run').length === 5")
    tab.until("!document.getElementById('trouble').hidden")
    assert tab.evaluate("document.querySelectorAll('.run').length") == 5


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1400, 390])
def test_every_view_fits_and_can_be_read(url: str, ids: dict[str, str], page_of: Any, width: int, scheme: str) -> None:
    views = ("", f"#run={ids['collapsed']}", f"#compare={ids['good']}&with={ids['collapsed']}")
    for fragment in views:
        tab = page_of(url, fragment)
        tab.prefer(scheme)
        tab.resize(width)
        tab.until("document.querySelectorAll('.run, .chart').length > 4")
        assert tab.evaluate(OVERFLOW) <= 0
        assert tab.evaluate(FAINT_TEXTS) == []
