"""What `make audit` says: vulnerabilities that are known fail it, data that cannot be reached do not, and nobody calls that well."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

AUDIT = Path(__file__).parents[1] / ".ci" / "audit.py"
GOOD = {"name": "good", "version": "1", "vulns": []}
BAD = {"name": "bad", "version": "2", "vulns": [{"id": "PYSEC-1"}, {"id": "CVE-2"}]}
UNKNOWN = {"name": "own", "skip_reason": "Dependency not found on PyPI"}


def audited(folder: Path, dependencies: list[dict[str, object]] | None, status: int, said: str) -> tuple[int, str]:
    """Run the script with stand-ins for its tools; pip-audit writes `dependencies`, or nothing if None."""
    folder.joinpath("answer.json").write_text(json.dumps({"dependencies": dependencies}))
    write = "" if dependencies is None else f'for path; do :; done; cp {folder}/answer.json "$path"\n'
    tools = {"pip-licenses": "", "cyclonedx-py": "", "pip-audit": f"{write}echo '{said}' >&2\nexit {status}\n"}
    for name, script in tools.items():
        (folder / name).write_text(f"#!/bin/sh\n{script}")
        (folder / name).chmod(0o755)
    command = [sys.executable, str(AUDIT), str(folder), sys.executable, str(folder / "out")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    return done.returncode, done.stdout.splitlines()[-1]


@pytest.mark.parametrize(
    ("dependencies", "status", "said", "expected"),
    [
        ([GOOD, UNKNOWN], 0, "No known vulnerabilities found", (0, "0 of 1 packages have one, 1 are not known")),
        ([GOOD, BAD], 1, "Found 2 known vulnerabilities", (1, "1 of 2 packages have one")),
        (
            None,
            1,
            "requests.exceptions.ProxyError: refused",
            (0, "cannot reach its data: requests.exceptions.ProxyError"),
        ),
        ([UNKNOWN], 0, "No known vulnerabilities found", (0, "its index knows none of the 1 packages")),
    ],
    ids=["fine", "vulnerable", "no way to the data", "an index without the packages"],
)
def test_it_says_what_is_known_and_what_is_not(
    dependencies: list[dict[str, object]] | None, status: int, said: str, expected: tuple[int, str], tmp_path: Path
) -> None:
    returned, line = audited(tmp_path, dependencies, status, said)
    assert returned == expected[0] and line.startswith("vulnerabilities: ") and expected[1] in line
