"""The browser, and a server with the page and scripted answers."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from actors.serving.page import page_routes
from tests.browser import chromium, tab
from tests.serving.stand_in import StandIn

__all__ = ["chromium", "server", "tab"]


@pytest.fixture
def server() -> Iterator[StandIn]:
    with StandIn() as running:
        page_routes(running.app)
        yield running
