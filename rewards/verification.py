"""Whether an extracted answer is the gold answer: as text, then as numbers, then as mathematics."""

import re
from typing import Literal

from rewards.numbers import WrittenNumber, numbers_equal, parse_number
from rewards.options import option_letter

AnswerForm = Literal["free", "option"]
"""what a gold answer is: mathematics or text, or the letter of a multiple-choice option"""

MAX_ANSWER_CHARS = 4096
"""a longer answer is wrong unread: no gold answer is near it, and parsers take time that grows faster than length"""

_DROPPED = re.compile(
    r"\\(?:left|right|displaystyle|limits)(?![A-Za-z])|\\[()\[\]$]|\$|\^\{\\circ\}|\^\\circ(?![A-Za-z])|°|\\degree"
)
_SPACES = re.compile(r"\\[!,;:> ]|\\q?quad(?![A-Za-z])|~")
_FRACTION = re.compile(r"\\[dtc]frac(?![A-Za-z])")
_WRAPPED = re.compile(r"\\(?:text|textbf|textit|textrm|mathrm|mathbf|mbox|operatorname)\s*\{([^{}]*)\}")
_UNIT = re.compile(r"(?<=[\d}%.])\s*\\(?:text|textrm|mathrm|mbox)\s*\{[^{}]*\}(?:\^\{?-?\d\}?)?$")
_SCALE = re.compile(r"dozen|hundred|thousand|million|billion|trillion", re.IGNORECASE)
_WORDS = re.compile(r"[A-Za-z][A-Za-z'-]+(?: [A-Za-z'-]+)*")
_LONG_WORD = re.compile(r"[A-Za-z]{4}")
_SCIENTIFIC = re.compile(r"(\d\.?)[eE]([+-]?\d+)(?![\d.A-Za-z])")


def verify(answer: str, gold: str, form: AnswerForm = "free") -> bool:
    """Whether `answer` equals `gold`; never raises, but may take as long and as much memory as symbolic algebra likes.

    Bounds on time and memory come from outside, by running it in a process that can be killed.
    """
    decided = verify_quickly(answer, gold, form)
    return verify_symbolically(answer, gold) if decided is None else decided


def verify_quickly(answer: str, gold: str, form: AnswerForm = "free") -> bool | None:
    """Compare as text, option letters, numbers and lists of numbers; None if only symbolic algebra can tell.

    A gold option is compared by its letter alone (`option_letter`), and so is a free gold that is one capital A to J.
    Takes microseconds: most answers need no more.
    """
    if len(answer) > MAX_ANSWER_CHARS or not answer.strip():
        return False
    plain_answer, plain_gold = _plain(answer), _plain(gold)
    if form == "option" or re.fullmatch("[A-J]", plain_gold):
        return option_letter(plain_answer) == option_letter(plain_gold) is not None
    if plain_answer and _squeezed(plain_answer) == _squeezed(plain_gold):
        return True
    if (equal := _compare_numbers(answer, gold)) is not None:
        return equal
    if _WORDS.fullmatch(plain_gold):
        if plain_answer.casefold() == plain_gold.casefold():
            return True
        if _LONG_WORD.search(plain_gold):
            return False
    return None


def verify_symbolically(answer: str, gold: str) -> bool:
    """Compare as LaTeX mathematics with math-verify, its own time-outs off. Never raises; may hang."""
    from math_verify import LatexExtractionConfig, parse
    from math_verify import verify as math_verify
    from math_verify.errors import TimeoutException

    config = [LatexExtractionConfig(boxed_match_priority=0)]
    try:
        parsed_answer, parsed_gold = (
            parse(rf"\boxed{{{_latex(text)}}}", config, fallback_mode="no_fallback", parsing_timeout=None)
            for text in (answer, gold)
        )
        return bool(math_verify(parsed_gold, parsed_answer, timeout_seconds=None))
    except (Exception, TimeoutException):
        return False


def _plain(text: str) -> str:
    r"""Return `text` without layout: `\left`, `$`, spacing, text wrappers, degree signs, a final full stop."""
    text = _SPACES.sub(" ", text)
    text = _FRACTION.sub(r"\\frac", _DROPPED.sub("", text))
    text = _WRAPPED.sub(r"\1", text).replace(r"\%", "%").replace("{,}", ",").replace("−", "-")
    return re.sub(r"\s+", " ", text).strip().rstrip(".").rstrip()


def _squeezed(text: str) -> str:
    return text.replace(" ", "")


def _compare_numbers(answer: str, gold: str) -> bool | None:
    written_answer, written_gold = (_squeezed(_plain(_without_unit(text))) for text in (answer, gold))
    if "," in written_answer and "," in written_gold:
        return _compare_lists(written_answer.split(","), written_gold.split(","))
    number_answer, number_gold = parse_number(written_answer), parse_number(written_gold)
    if number_answer is None or number_gold is None:
        return None
    return numbers_equal(number_answer, number_gold)


def _compare_lists(answers: list[str], golds: list[str]) -> bool | None:
    """Compare two lists of numbers without regard to order; None if an item is no number."""
    rest = [parse_number(item) for item in golds]
    items = [parse_number(item) for item in answers]
    if None in rest or None in items:
        return None
    for item in items:
        found = next((i for i, gold in enumerate(rest) if _both_equal(item, gold)), None)
        if found is None:
            return False
        del rest[found]
    return not rest


def _both_equal(answer: WrittenNumber | None, gold: WrittenNumber | None) -> bool:
    return answer is not None and gold is not None and numbers_equal(answer, gold)


def _without_unit(text: str) -> str:
    text = text.strip().rstrip("$.").rstrip()
    unit = _UNIT.search(text)
    return text if unit is None or _SCALE.search(unit.group()) else text[: unit.start()]


def _latex(text: str) -> str:
    return _SCIENTIFIC.sub(r"\1 \\times 10^{\2}", text.replace("$", "").strip().rstrip("."))
