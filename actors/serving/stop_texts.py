"""Ends an answer's text before the first stop text, and holds back what may be the beginning of one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from actors.serving.pieces import Piece


class StopTexts:
    """Passes pieces on until one of the stop texts is found, wherever the pieces are split."""

    def __init__(self, stops: Sequence[str]) -> None:
        """Raises ValueError if a stop text is empty."""
        if not all(stops):
            raise ValueError("a stop text is empty: leave it out, because every text would contain it")
        self._stops = tuple(stops)
        self._held: list[Piece] = []
        self.found: str | None = None
        """the stop text that ended the answer"""

    @property
    def exist(self) -> bool:
        """Whether there are any."""
        return bool(self._stops)

    @property
    def held_characters(self) -> int:
        """Characters that are held back."""
        return sum(len(piece.text) for piece in self._held)

    def pass_on(self, piece: Piece) -> list[Piece]:
        """Take the next piece; return the pieces that are certain."""
        if self.found is not None:
            return []
        if not self._stops:
            return [piece]
        self._held.append(piece)
        text = "".join(held.text for held in self._held)
        places = [(text.find(stop), stop) for stop in self._stops if stop in text]
        if places:
            place, self.found = min(places)
            released, _ = _split(self._held, place)
            self._held = []
            return released
        released, self._held = _split(self._held, len(text) - self._may_begin(text))
        return released

    def end(self) -> list[Piece]:
        """Return what is held back."""
        held, self._held = self._held, []
        return held

    def _may_begin(self, text: str) -> int:
        """Return how many last characters may be the beginning of a stop text."""
        longest = max(map(len, self._stops)) - 1
        for count in range(min(longest, len(text)), 0, -1):
            if any(stop.startswith(text[-count:]) for stop in self._stops):
                return count
        return 0


def _split(pieces: Sequence[Piece], place: int) -> tuple[list[Piece], list[Piece]]:
    """Split pieces at a place in their text."""
    before: list[Piece] = []
    for i, piece in enumerate(pieces):
        if place < len(piece.text):
            if place == 0:
                return before, list(pieces[i:])
            rest = replace(piece, text=piece.text[place:], logprobs=())
            return [*before, replace(piece, text=piece.text[:place])], [rest, *pieces[i + 1 :]]
        before.append(piece)
        place -= len(piece.text)
    return before, []
