"""Shows a page in the user's browser, where there is one."""

from __future__ import annotations

import os
import sys
import webbrowser
from contextlib import suppress


def show(url: str) -> bool:
    """Open a page in the browser, and return whether that was tried. Without a display, or if it fails, nothing happens."""
    has_display = sys.platform in ("darwin", "win32") or any(map(os.environ.get, ("DISPLAY", "WAYLAND_DISPLAY")))
    if has_display:
        with suppress(webbrowser.Error, OSError):
            return webbrowser.open(url)
    return False
