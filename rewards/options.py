"""Reads the option letter of a multiple-choice answer: `C`, `(C)`, `C.`, `C. twelve`, `C - twelve`, `**C**`, in either case."""

import re

_LETTER = re.compile(
    r"(?:(?:option|choice|answer)(?: is)?:? )?(?:[(\[]([A-Z])[)\]][.:]?|([A-Z])(?:[.:)]|$| --?-? (?!\(?[A-Z]\)?$)))",
    re.IGNORECASE,
)
_MARKDOWN = re.compile(r"\*\*|__|`")
_JOIN = r"(?:[,;/&+]|\band\b|\bor\b)"
_ANOTHER = re.compile(rf"(?:\s|{_JOIN})*\([A-Z]\)|\s*{_JOIN}\s*[A-Z](?![\w'])", re.IGNORECASE)


def option_letter(answer: str) -> str | None:
    """Return the letter that `answer` (without layout) chooses, in upper case; None if it chooses none or several.

    Only the letter counts, never the option's text, because several options may have similar texts. The text after the
    letter is ignored, unless it is another letter: `(A) or (B)` chooses none.
    """
    answer = _MARKDOWN.sub("", answer).strip()
    found = _LETTER.match(answer)
    if found is None or _ANOTHER.match(answer, found.end()):
        return None
    return next(letter for letter in found.groups() if letter).upper()
