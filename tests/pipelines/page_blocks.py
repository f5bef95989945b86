"""The fenced blocks of a documentation page, and how its commands are run."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]

_BLOCK = re.compile(
    r"(?:^<!-- (?P<key>file|run): (?P<value>.+?) -->\n)?^```(?P<language>\w+)\n(?P<text>.*?)^```", re.M | re.S
)


@dataclass(frozen=True, slots=True)
class Block:
    """One fenced block. A comment before it may say which file it is, or when it is run."""

    language: str
    text: str
    file: str | None
    when: str | None


def blocks_of(page: str) -> list[Block]:
    """Return the blocks of a page of docs/, in order."""
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    return [
        Block(
            found["language"],
            found["text"],
            found["value"] if found["key"] == "file" else None,
            found["value"] if found["key"] == "run" else None,
        )
        for found in _BLOCK.finditer(text)
    ]


def run_in(folder: Path, command: str) -> str:
    """Run a bash command as a reader would, with the environment of this project; return its output."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("RAY_", "WANDB_", "VLLM_"))}
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", command],
        cwd=folder,
        env={**kept, "PATH": path, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout[-6000:]}\n{done.stderr[-6000:]}"
    return done.stdout
