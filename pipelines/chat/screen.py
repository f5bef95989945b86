"""Writes answers to a terminal: the teacher's part in colour and underlined, or in brackets where there is no colour."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from typing import TextIO

from rich.console import Console
from rich.style import Style
from rich.text import Text

_TEACHER = Style(color="dark_orange", underline=True)
_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""what moves the cursor, rings, sets colours, or turns the direction of other text"""


def harmless(text: str) -> str:
    """Return text without characters that would act on the terminal; each is shown by its code, like `\\x1b`."""
    return _CONTROLS.sub(lambda found: found[0].encode("unicode_escape", "surrogatepass").decode(), text)


class Screen:
    """Where a chat is shown."""

    def __init__(self, environment: Mapping[str, str], stream: TextIO | None = None) -> None:
        self._stream = sys.stdout if stream is None else stream
        self._console = Console(
            file=self._stream, highlight=False, soft_wrap=True, no_color="NO_COLOR" in environment or None
        )
        self.has_colour = self._console.is_terminal and not self._console.no_color and bool(self._console.color_system)
        self._brackets = ("⟦", "⟧") if _can_write("⟦⟧", self._stream) else ("[[", "]]")
        self._writer = "student"

    @property
    def legend(self) -> str:
        """How the teacher's part is marked."""
        return "in colour and underlined" if self.has_colour else f"in {'…'.join(self._brackets)}"

    def line(self, text: str = "", style: str = "") -> None:
        """Write a whole line."""
        self._put(Text(harmless(text), style if self.has_colour else ""), "\n")

    def write(self, writer: str, text: str) -> None:
        """Write the next part of an answer."""
        if self.has_colour:
            self._put(Text(harmless(text), _TEACHER if writer == "teacher" else ""))
            return
        self._turn_to(writer)
        self._put(Text(harmless(text)))

    def end(self) -> None:
        """End the answer's last line."""
        self._turn_to("student")
        self._put(Text("\n"))

    def _turn_to(self, writer: str) -> None:
        if not self.has_colour and writer != self._writer:
            self._put(Text(self._brackets[0 if writer == "teacher" else 1]))
        self._writer = writer

    def _put(self, text: Text, end: str = "") -> None:
        encoding = self._stream.encoding or "utf-8"
        text.plain = text.plain.encode(encoding, "replace").decode(encoding)
        self._console.print(text, end=end, markup=False)
        self._stream.flush()


def _can_write(text: str, stream: TextIO) -> bool:
    try:
        text.encode(stream.encoding or "utf-8")
    except (UnicodeEncodeError, LookupError):
        return False
    return True
