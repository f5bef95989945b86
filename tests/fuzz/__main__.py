"""Fuzzes one target with atheris: `python -m tests.fuzz grammar -max_total_time=600`.

It begins with the kept corpus. What it finds is in build/fuzz; an input that breaks its target is written to the working directory.
Copy into the corpus what shows a mended fault.
"""

from __future__ import annotations

import sys
from pathlib import Path

import atheris  # pip install -e '.[fuzz]'

CORPUS = Path(__file__).parent / "corpus"

if __name__ == "__main__":
    with atheris.instrument_imports(
        include=["actors", "pipelines", "rewards", "yaml", "math_verify", "latex2sympy2_extended"]
    ):
        from tests.fuzz.targets import TARGETS

    name, *options = sys.argv[1:]
    (found := Path("build/fuzz") / name).mkdir(parents=True, exist_ok=True)
    atheris.Setup([sys.argv[0], str(found), str(CORPUS / name), *options], TARGETS[name])
    atheris.Fuzz()
