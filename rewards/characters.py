"""Rewrites Unicode in answers, such as `½`, `√2`, `x²`, `−5` and `≤`, to the ASCII and LaTeX that golds and parsers use."""

from __future__ import annotations

import re
import unicodedata

_COMMANDS = {
    "×": "times", "⋅": "cdot", "·": "cdot", "∙": "cdot", "÷": "div", "±": "pm", "∓": "mp",
    "≤": "le", "⩽": "le", "≥": "ge", "⩾": "ge", "≠": "ne", "≈": "approx", "∞": "infty",
    "∅": "emptyset", "∪": "cup", "∩": "cap", "∈": "in", "∖": "setminus", "ℝ": "mathbb{R}",
    "α": "alpha", "β": "beta", "γ": "gamma", "δ": "delta", "ε": "epsilon", "θ": "theta", "λ": "lambda", "μ": "mu",
    "π": "pi", "ρ": "rho", "σ": "sigma", "τ": "tau", "φ": "phi", "ω": "omega", "Δ": "Delta", "Ω": "Omega",
}  # fmt: skip
_REPLACED = {
    **{sign: f"\\{command} " for sign, command in _COMMANDS.items()},
    **dict.fromkeys("‐‑‒–—―−﹣－", "-"),
    **dict.fromkeys("⁄∕", "/"),
    **dict.fromkeys("\u200b\u200c\u200d\u2060\ufeff", ""),
    **dict.fromkeys("\u00a0\u2002\u2003\u2009\u200a\u202f\u2005\u2007", " "),
    **dict.fromkeys("‘’", "'"),
}
_RAISED = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻ⁿⁱ", "0123456789+-ni")
_LOWERED = str.maketrans("₀₁₂₃₄₅₆₇₈₉₊₋", "0123456789+-")
_RAISED_RUN = re.compile("[⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻ⁿⁱ]+")
_LOWERED_RUN = re.compile("[₀₁₂₃₄₅₆₇₈₉₊₋]+")
_OTHER = re.compile(r"[^\x00-\x7f]")
_ROOT = re.compile(r"([√∛∜])\s*(?:(\d+(?:\.\d+)?|[A-Za-z])|\(([^()]*)\)|(?=\{))?")
_DEGREES = {"√": "", "∛": "[3]", "∜": "[4]"}


def in_latex(text: str) -> str:
    """Return `text` with Unicode's mathematical characters rewritten as LaTeX. Other characters stay. Takes linear time."""
    if text.isascii():
        return text
    text = _RAISED_RUN.sub(lambda run: f"^{{{run.group().translate(_RAISED)}}}", text)
    text = _LOWERED_RUN.sub(lambda run: f"_{{{run.group().translate(_LOWERED)}}}", text)
    return _ROOT.sub(_root, _OTHER.sub(_character, text))


def _character(match: re.Match[str]) -> str:
    character = match.group()
    if (replaced := _REPLACED.get(character)) is not None:
        return replaced
    if (digit := unicodedata.decimal(character, None)) is not None:
        return str(digit)
    if (kind := unicodedata.decomposition(character)).startswith("<fraction>"):
        top, _, bottom = unicodedata.normalize("NFKC", character).partition("⁄")
        return rf"\frac{{{top}}}{{{bottom}}}"
    if kind.startswith(("<wide>", "<font>")):
        return unicodedata.normalize("NFKC", character)
    return character


def _root(match: re.Match[str]) -> str:
    root, bare, bracketed = match.groups()
    radicand = bare if bare is not None else bracketed
    return rf"\sqrt{_DEGREES[root]}" + ("" if radicand is None else f"{{{radicand}}}")
