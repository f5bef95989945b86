r"""Finding the final answer in a solution: the content of its last balanced `\boxed{...}`."""

import re

_BRACES = re.compile(r"\\(?:boxed|fbox)\s*\{|\\.|[{}]", re.DOTALL)


def extract_answer(text: str) -> str | None:
    r"""Return the content of the last balanced `\boxed{...}` or `\fbox{...}`, stripped; None if there is none."""
    span = answer_span(text)
    return None if span is None else text[slice(*span)].strip()


def answer_span(text: str) -> tuple[int, int] | None:
    r"""Return where the content of the last balanced `\boxed{...}` or `\fbox{...}` begins and ends; None if there is none.

    "Last" is by where the box opens, so of nested boxes the inner one counts. Braces may nest; escaped braces (`\{`)
    do not count; a box that never closes is passed over. Linear in the length of the text.
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
