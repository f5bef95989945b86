r"""Removes layout from an answer without changing its content: fonts, spacing, `\left`, Markdown, line spacing in matrices."""

from __future__ import annotations

import re

from rewards.characters import in_latex

_TEXT = "text|textbf|textit|textrm|textnormal|textsf|texttt|mathrm|mbox|hbox|operatorname"
_FONT = "boldsymbol|bm|pmb|mathbf|mathit|mathsf|mathtt|mathnormal|bold|underline|emph|ensuremath"
_STYLED = re.compile(rf"\\(?:{_FONT})\s*\{{|\\textcolor\s*\{{\w*\}}\s*\{{|\\.|[{{}}]", re.DOTALL)
_STYLED_OR_TEXT = re.compile(rf"\\(?:{_FONT}|{_TEXT})\s*\{{|\\textcolor\s*\{{\w*\}}\s*\{{|\\.|[{{}}]", re.DOTALL)
_SWITCH = re.compile(rf"\\(?:{_FONT}|bf|rm|it|sf|tt|bfseries|boldmath|color\s*\{{\w*\}})(?![A-Za-z])\s*")
_ROW_END = re.compile(r"\\\\\s*(?:\*|\[\s*-?\d*\.?\d*\s*(?:pt|em|ex|mm|cm|in|px|mu|pc|\\[a-z]+)\s*\])")
_MARKDOWN = re.compile(r"\s*(\*\*|__|\*|`)(?=\S)([^*`]*\S)\1\.?\s*", re.DOTALL)
_WHOLE_TEXT = re.compile(rf"\\(?:{_TEXT})\s*\{{([^{{}}]*)\}}")
_EMPTY = re.compile(r"\\varnothing(?![A-Za-z])|\\\{\s*\\\}")
_PERCENT = re.compile(r"(?<=\d) +percent$")
_DIGITS_OF_FRACTION = re.compile(r"\\([dtc]?frac|[dt]?binom)\s*(?:(\d)|(\{[^{}]*\}))\s*(?:(\d)|(?=\{))")
_DROPPED = re.compile(
    r"\\(?:left|right|displaystyle|textstyle|limits|[bB]igg?[lr]?)(?![A-Za-z])|(?<!\\)\\[()\[\]$]|\$"
    r"|\^\{\\circ\}|\^\\circ(?![A-Za-z])|°|\\degree(?![A-Za-z])"
)
_SPACES = re.compile(r"(?<!\\)\\[,;:> ]|~|\\(?:thinspace|medspace|thickspace|enspace|nobreakspace)(?![A-Za-z])")
_NO_SPACE = re.compile(r"(?<!\\)\\!|\\negthinspace(?![A-Za-z])")
_WIDE_SPACE = re.compile(r"\\q?quad(?![A-Za-z])")
_WIDE_BETWEEN_NUMBERS = re.compile(r"(?<=[\d}]) *,? *\\q?quad +(?=[-+\d\\])")
_FRACTION = re.compile(r"\\[dtc]frac(?![A-Za-z])")
_LAYERS = 2
"""most layers of Markdown, or of braces, that are removed from around a whole answer; models use no more, and each costs a pass"""
_BETWEEN_DIGITS = re.compile(r"(?<=\d) (?=\d)")


def canonical(text: str) -> str:
    """Return `text` without the layout that LaTeX parsers do not know. Takes linear time."""
    text = in_latex(text).strip()
    for _ in range(_LAYERS):
        text = dressed[2] if (dressed := _MARKDOWN.fullmatch(text)) else text
    text = _EMPTY.sub(r"\\emptyset ", _ROW_END.sub(r"\\\\ ", text))
    text = _SWITCH.sub("", _unwrapped(text, _STYLED)).strip()
    if whole := _WHOLE_TEXT.fullmatch(text):
        text = whole[1].strip()
    for _ in range(_LAYERS):
        text = text[1:-1].strip() if _is_one_group(text) else text
    return _DIGITS_OF_FRACTION.sub(_braced, text)


def spaced(text: str) -> str:
    r"""Return canonical `text` with every kind of space as one blank. A `\quad` between two numbers becomes a comma."""
    text = _NO_SPACE.sub("", _WIDE_BETWEEN_NUMBERS.sub(", ", re.sub(r"\s+", " ", text)))
    return re.sub(r"\s+", " ", _SPACES.sub(" ", _WIDE_SPACE.sub(" ", text))).strip()


def plain(text: str) -> str:
    r"""Return canonical `text` without `\left`, `$`, special spacing, text wrappers, degree signs and a final full stop."""
    text = _FRACTION.sub(r"\\frac", _DROPPED.sub("", spaced(text)))
    text = _unwrapped(text, _STYLED_OR_TEXT).replace(r"\%", "%").replace("{,}", ",")
    text = _PERCENT.sub("%", text)
    return re.sub(r"\s+", " ", text).strip().rstrip(".").rstrip()


def squeezed(text: str) -> str:
    """Return plain `text` without blanks, except those between two digits."""
    return _BETWEEN_DIGITS.sub("\0", text).replace(" ", "").replace("\0", " ")


def _unwrapped(text: str, styled: re.Pattern[str]) -> str:
    """Return `text` without the commands that `styled` matches and without their braces. The text in the braces stays."""
    if "\\" not in text:
        return text
    parts: list[str] = []
    is_style: list[bool] = []
    end = 0
    for match in styled.finditer(text):
        token = match.group()
        before, end = text[end : match.start()], match.end()
        parts.append(before)
        if len(token) > 2:
            is_style.append(True)
            parts.append(_gap(parts, text, end))
        elif token == "{":
            is_style.append(False)
            parts.append(token)
        elif not (token == "}" and is_style and is_style.pop()):
            parts.append(token)
    return "".join([*parts, text[end:]])


def _gap(parts: list[str], text: str, start: int) -> str:
    """Return a blank if the text at `start` would otherwise join the name of a command before it; else an empty string."""
    before = next((part for part in reversed(parts) if part), "")
    return " " if re.search(r"\\[A-Za-z]*$|[A-Za-z]$", before[-40:]) and text[start : start + 1].isalpha() else ""


def _is_one_group(text: str) -> bool:
    if not (text.startswith("{") and text.endswith("}") and not text.endswith("\\}")):
        return False
    depth = 0
    for match in re.finditer(r"\\.|[{}]", text, re.DOTALL):
        depth += {"{": 1, "}": -1}.get(match.group(), 0)
        if depth == 0:
            return match.end() == len(text)
    return False


def _braced(match: re.Match[str]) -> str:
    command, digit, group, second = match.groups()
    return f"\\{command}{group or f'{{{digit}}}'}" + (f"{{{second}}}" if second else "")
