"""Runs the tests in two processes at the same time: `python -m tests.in_halves [pytest's options]`.

The halves are fixed, and each keeps the order of its files. So a test meets the same neighbours every time.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

FIRST = ("actors", "citer", "cluster", "engines", "learner", "rewards", "relay")
"""folders of the first half; all else is the second"""


def main(options: list[str]) -> int:
    """Run both halves, print the output of the second one after the first, and return the worse exit status."""
    tests = Path(__file__).parent
    folders = [str(tests / name) for name in FIRST]
    command = [sys.executable, "-m", "pytest", *options]
    with tempfile.TemporaryFile() as output:
        ignored = [f"--ignore={folder}" for folder in folders]
        halves = [
            subprocess.Popen([*command, *folders]),
            subprocess.Popen([*command, str(tests), *ignored], stdout=output, stderr=subprocess.STDOUT),
        ]
        statuses = [_ended(half) for half in halves]
        output.seek(0)
        sys.stdout.buffer.write(output.read())
    ran = [status for status in statuses if status != pytest.ExitCode.NO_TESTS_COLLECTED]
    return max(ran, default=int(pytest.ExitCode.NO_TESTS_COLLECTED))


def _ended(half: subprocess.Popen[bytes]) -> int:
    """Wait for a half and return its status. Ctrl-C reaches both; each ends what it has started, and is waited for."""
    while True:
        try:
            return abs(half.wait())
        except KeyboardInterrupt:
            continue


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
