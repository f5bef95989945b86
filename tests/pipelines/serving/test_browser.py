"""The page is shown where there is a display, and nothing fails where there is none."""

import sys
import webbrowser

import pytest

from pipelines.serving.browser import show


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    found: list[str] = []
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(webbrowser, "open", lambda url: not found.append(url))
    for variable in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(variable, raising=False)
    return found


def test_without_a_display_nothing_is_opened(opened: list[str]) -> None:
    assert not show("http://localhost") and opened == []


def test_with_a_display_the_page_is_opened(opened: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISPLAY", ":0")
    assert show("http://localhost") and opened == ["http://localhost"]


def test_a_browser_that_fails_is_no_error(opened: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(url: str) -> bool:
        raise webbrowser.Error("no browser")

    monkeypatch.setenv("WAYLAND_DISPLAY", "wayland-0")
    monkeypatch.setattr(webbrowser, "open", fails)
    assert not show("http://localhost")
