"""The browser that opens the reports."""

from tests.browser import address, chromium, tab

__all__ = ["address", "chromium", "tab"]
