"""Mathematics on the page: what is set, what stays as written, and who wrote which symbol."""

from __future__ import annotations

import json

import pytest

from tests.browser import Page
from tests.serving.stand_in import StandIn

SET = """import('./page/math.js').then(({formulas, mathOf}) => {
  const characters = Array.from(%s);
  return formulas(characters).map((one) => mathOf(characters, one, (leaf, start, end) => leaf.setAttribute('at', start + '-' + end)))
    .map((math) => math && math.innerHTML.replaceAll(/ (at|stretchy|class|fence)="[^"]*"/g, ''));
})"""


def set_in(tab: Page, text: str) -> list[str | None]:
    return tab.evaluate(SET % json.dumps(text))


@pytest.fixture
def page(tab: Page, server: StandIn) -> Page:
    tab.open(f"{server.url}/")
    return tab


@pytest.mark.parametrize(
    ("text", "mathml"),
    [
        ("is $\\frac{1}{2}$", "<mfrac><mn>1</mn><mn>2</mn></mfrac>"),
        ("\\(x^2_1\\)", "<msubsup><mi>x</mi><mn>1</mn><mn>2</mn></msubsup>"),
        ("\\[\\sqrt[3]{8} \\le \\pi\\]", "<mroot><mn>8</mn><mn>3</mn></mroot><mo>≤</mo><mi>π</mi>"),
        ("so \\boxed{12.5} it is", "<mrow><mn>12.5</mn></mrow>"),
        ("$2 \\cdot 3 \\times a'$", "<mn>2</mn><mo>⋅</mo><mn>3</mn><mo>×</mo><msup><mi>a</mi><mo>′</mo></msup>"),
        ("$\\sum_{i}^{n} i$", "<munderover><mo>∑</mo><mi>i</mi><mi>n</mi></munderover><mi>i</mi>"),
        ("$\\left( x \\right]$", "<mrow><mo>(</mo><mi>x</mi><mo>]</mo></mrow>"),
        (
            "$10\\%\\ \\text{of } x$",
            '<mn>10</mn><mo>%</mo><mspace width="0.33em"></mspace><mtext>of&nbsp;</mtext><mi>x</mi>',
        ),
        (
            "$$\\begin{cases} 1 & x \\\\ 2 \\end{cases}$$",
            "<mrow><mo>{</mo><mtable><mtr><mtd><mn>1</mn></mtd><mtd><mi>x</mi></mtd></mtr>"
            "<mtr><mtd><mn>2</mn></mtd></mtr></mtable></mrow>",
        ),
    ],
)
def test_formulas_become_mathml(page: Page, text: str, mathml: str) -> None:
    assert set_in(page, text) == [mathml]


@pytest.mark.parametrize(
    "text", ["It costs $5 and $6.", "a $ b $ c", "an \\alpha alone", "\\$5", "$open", "\\boxed{open", ""]
)
def test_what_is_no_formula_is_none(page: Page, text: str) -> None:
    assert set_in(page, text) == []


@pytest.mark.parametrize(
    "text", ["$\\unknown{x}$", "$\\frac{1}$", "$x^2^3$", "${{$ and }}$", "$" + "{" * 100 + "}" * 100 + "$", "$a % b$"]
)
def test_what_is_not_known_stays_as_written(page: Page, text: str) -> None:
    assert set_in(page, text)[0] is None


def test_markup_in_a_formula_is_text(page: Page) -> None:
    assert set_in(page, "$\\text{<img src=x onerror=alert(1)>}$") == [
        "<mtext>&lt;img src=x onerror=alert(1)&gt;</mtext>"
    ]


def test_any_text_is_read_in_little_time_and_without_an_error(page: Page) -> None:
    for text in ("$" * 20_000, "\\[" * 10_000, "\\boxed{" * 3_000, "$x" * 10_000, "\\" * 20_000, "$\\frac" * 5_000):
        assert isinstance(set_in(page, text), list)
    assert page.errors == []
