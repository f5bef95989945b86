"""Answer extraction takes the last balanced box."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewards.answers import answer_span, extract_answer


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        (r"so \boxed{42}.", "42"),
        (r"\boxed{1} then \boxed{2}", "2"),
        (r"\boxed{\frac{1}{\sqrt{2}}} and more {text}", r"\frac{1}{\sqrt{2}}"),
        (r"\boxed{\{1, 2\}}", r"\{1, 2\}"),
        (r"\boxed{\left\{x \right.}", r"\left\{x \right."),
        (r"\fbox{7}", "7"),
        (r"\boxed {7}", "7"),
        ("\\boxed{\n 7 \n}", "7"),
        (r"\boxed{\boxed{5}}", "5"),
        (r"\boxed{4}, that is \boxed{5", "4"),
        (r"} stray \boxed{3}", "3"),
        (r"{ stray \boxed{3}", "3"),
        (r"\boxed{}", ""),
    ],
)
def test_the_last_balanced_box_is_the_answer(text: str, answer: str) -> None:
    assert extract_answer(text) == answer


@pytest.mark.parametrize("text", ["", "42", r"\boxed{42", r"\boxed 42", r"boxed{42}", r"\boxed{\frac{1}{2}"])
def test_without_a_balanced_box_there_is_no_answer(text: str) -> None:
    assert extract_answer(text) is None


def test_a_deep_nest_of_braces_is_read_whole() -> None:
    content = "{" * 100_000 + "}" * 100_000
    assert extract_answer(rf"\boxed{{{content}}}") == content


def test_a_million_open_boxes_are_no_answer() -> None:
    assert extract_answer(r"\boxed{" * 1_000_000) is None


@given(st.text("{}\\boxedf 1", max_size=60), st.integers(0, 10**9))
def test_a_box_at_the_end_is_found_after_any_text(text: str, number: int) -> None:
    assert extract_answer(f"{text} \\boxed{{{number}}}") == str(number)


def test_the_span_is_what_stands_between_the_braces() -> None:
    text = r"so \boxed{1}, no: \boxed{ 2 }."
    assert text[slice(*answer_span(text))] == " 2 "
    assert answer_span("none") is None
