"""A multiple-choice answer is the letter that it chooses."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewards.options import option_letter
from rewards.verification import verify, verify_quickly


@pytest.mark.parametrize(
    "answer", ["C", "c", "(C)", "(c)", "C.", "C)", "C:", "(C).", "C. twelve", "(C) 12", "C: see (A)", " C ", "Option C"]
)
def test_a_letter_is_chosen_alone_in_parentheses_or_before_the_options_text(answer: str) -> None:
    assert option_letter(answer) == "C"


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "12",
        "A - B",
        "**A** or **B**",
        "**A** **B**",
        "A cat",
        "AB",
        "A or B",
        "(A) or (B)",
        "(A), (B)",
        "(A)(B)",
        "A, B",
        "A/B",
        "A. (B)",
        "C.,D",
    ],
)
def test_no_letter_or_several_choose_nothing(answer: str) -> None:
    assert option_letter(answer) is None


@pytest.mark.parametrize(
    "answer",
    [
        "C", "(C)", r"\text{C}", r"\textbf{(C)}\ 12", "C. something", r"\mathrm{C}", "C - twelve", "C – 12", "C — twelve",
        "**C**", "**C.** 12", "**(C)** 12", "**C**: twelve", "`C`", r"\boldsymbol{C}", r"\bm{C}", r"\mathbf{(C)}\ 12", "[C]",
        "{C}", "Answer: C", "answer is C",
    ],
)  # fmt: skip
def test_an_option_is_correct_by_its_letter_however_it_is_set(answer: str) -> None:
    assert verify_quickly(answer, "C", "option") is True


@pytest.mark.parametrize("answer", ["D", "12", "something", "(D) C", "C or D", "", "x^2"])
def test_anything_else_is_a_wrong_option_and_never_a_case_for_algebra(answer: str) -> None:
    assert verify_quickly(answer, "C", "option") is False


def test_a_letter_past_j_is_an_option_only_where_options_are_asked_for() -> None:
    assert verify("(R)", "R", "option")
    assert not verify("(R) = 5", "R")


@given(st.text(max_size=30), st.sampled_from("ABCDEFGHIJKLMNOPQRSTUVWXYZ"))
def test_an_answer_is_correct_for_one_letter_at_most(answer: str, gold: str) -> None:
    decided = verify_quickly(answer, gold, "option")
    others = [letter for letter in "ABCDEFGHIJKLMNOPQRSTUVWXYZ" if letter != gold]
    assert decided is not None
    assert not (decided and any(verify_quickly(answer, letter, "option") for letter in others))
