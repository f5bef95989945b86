r"""Finds the final answer in a solution: the content of its last balanced `\boxed{...}`."""

import re

_BRACES = re.compile(r"\\(?:boxed|fbox)\s*\{|\\.|[{}]", re.DOTALL)


def extract_answer(text: str) -> str | None:
    r"""Return the content of the last balanced `\boxed{...}` or `\fbox{...}`, stripped; None if there is none."""
    span = answer_span(text)
    return None if span is None else text[slice(*span)].strip()


def answer_span(text: str) -> tuple[int, int] | None:
    r"""Return start and end of the content of the last balanced `\boxed{...}` or `\fbox{...}`; None if there is none.

    The last box is the one that opens last, so of nested boxes it is the inner one. Braces may nest, and escaped braces
    (`\{`) do not count. A box that never closes is ignored. The time is linear in the length of the text.
    """
    open_braces: list[int | None] = []
    last: tuple[int, int] | None = None
    for match in _BRACES.finditer(text):
        token = match.group()
        if token == "{":
            open_braces.append(None)
        elif token == "}":
            start = open_braces.pop() if open_braces else None
            if start is not None and (last is None or start > last[0]):
                last = (start, match.start())
        elif token.endswith("{") and len(token) > 2:
            open_braces.append(match.end())
    return last
