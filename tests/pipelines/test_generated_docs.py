"""Pages that are written from the code are as the code is now."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

from pipelines.experiment.errors import schema_paths
from pipelines.experiment.schema import Experiment

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def generate() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs_generate", ROOT / "docs" / "generate.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_committed_pages_are_what_the_script_writes(generate: ModuleType) -> None:
    """`make docs-generate` writes them anew."""
    stale = [path.name for path, text in generate.pages().items() if path.read_text(encoding="utf-8") != text]
    assert stale == []


def test_a_table_of_metrics_is_written_anew(generate: ModuleType) -> None:
    page = "| metric | unit | meaning |\n|---|---|---|\n| `reward/gone` | 1 | was once |\n\nText after it.\n"
    written = generate.metrics(page)
    assert "gone" not in written and "| `reward/mean` | 1 |" in written and written.endswith("|\n\nText after it.\n")


def test_every_key_of_the_schema_has_a_row(generate: ModuleType) -> None:
    page = generate.configuration()
    rows = set(re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE))
    named = {path[-1] for path in schema_paths(Experiment)} - {"0", "*"}
    assert named <= rows


def test_every_key_has_a_meaning(generate: ModuleType) -> None:
    assert re.findall(r"^\| `(\w+)` \|.*\|  \|$", generate.configuration(), re.MULTILINE) == []
