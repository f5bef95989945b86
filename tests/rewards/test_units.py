"""A unit after a number is read over, unless it makes another quantity of it."""

import pytest

from rewards.verification import verify, verify_quickly


@pytest.mark.parametrize(
    "answer",
    [
        r"12~\text{cm}", r"12\,\text{cm}", r"12\;\mathrm{cm}^2", r"12 \mathrm{~m} / \mathrm{s}^{2}", "12 cm", "12cm", r"\text{12 cm}",
        "12 dollars", r"12\ \text{dollars}", r"\$12", "12 m/s", "12 miles per hour", "12 apples", "12 square units", "12 cm^2",
        r"12\,\mathrm{J\,s}", r"12\,\mathrm{kg}\cdot\mathrm{m}", "$12$ cm", "x = 12 cm", "12 J",
        "12 in", "12 in.", r"12\text{ cups of flour}", "12 pairs",
        "12 more apples", "12 times",
    ],
)  # fmt: skip
def test_a_number_with_a_unit_is_the_number(answer: str) -> None:
    assert verify_quickly(answer, "12") is True
    assert verify_quickly("12", answer) is True
    assert verify_quickly(answer, "13") is False


def test_units_are_read_over_behind_other_mathematics_too() -> None:
    assert verify(r"6.63\times 10^{-34}~\mathrm{J\,s}", "6.63e-34")
    assert verify(r"\sqrt{2} \text{ cm}", r"\sqrt{2}")
    assert verify(r"2\pi cm", r"2\pi")


@pytest.mark.parametrize(
    "answer",
    [
        "12 dozen",
        "12 million",
        "12 or more",
        "12 tenths",
        "12 thirds",
        r"12\text{ thousand}",
        "12 x",
        "12x",
        "12 n",
        "12abc",
        "12 xyz",
    ],
)
def test_what_changes_the_number_is_no_unit(answer: str) -> None:
    assert not verify(answer, "12")


@pytest.mark.parametrize(
    ("answer", "gold"),
    [("100 cm", "1 m"), ("60 minutes", "1 hour"), (r"1\text{ m}", r"100\text{ cm}"), ("500 g", "0.5 kg")],
)
def test_quantities_are_equal_in_any_unit(answer: str, gold: str) -> None:
    assert verify_quickly(answer, gold) is True


@pytest.mark.parametrize(
    ("answer", "gold"),
    [("5 cm", "5 m"), (r"5\text{ cm}", r"5\text{ s}"), ("5 dollars", "5 cents"), ("5 hours", "5 min")],
)
def test_equal_numbers_of_different_units_are_different(answer: str, gold: str) -> None:
    assert verify(answer, gold) is False


@pytest.mark.parametrize(
    "answer", ["10 a.m.", "10 AM", "10am", r"10\text{ a.m.}", "10:00 a.m.", r"10 \text{ A.M.}", "10 a. m."]
)
def test_a_time_of_day_is_morning_or_afternoon(answer: str) -> None:
    assert verify_quickly(answer, "10 a.m.") is True
    assert verify(answer, "10 p.m.") is False
    assert verify(answer.replace("10", "11"), "10 a.m.") is False


def test_minutes_of_a_time_count() -> None:
    assert verify("10:30 a.m.", "10:30 AM")
    assert not verify("10:30 a.m.", "10:30 p.m.")
    assert not verify("10:30 a.m.", "10:45 a.m.")


@pytest.mark.parametrize(
    ("answer", "gold"),
    [
        ("12 million", "12,000,000"),
        (r"1.5\text{ billion}", "1.5e9"),
        ("2 dozen", "24"),
        ("3 thousand dollars", "3000"),
        ("5 percent", r"5\%"),
    ],
)
def test_a_number_in_words_counts(answer: str, gold: str) -> None:
    assert verify_quickly(answer, gold) is True
