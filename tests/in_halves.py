"""Runs the tests in two processes at the same time: `python -m tests.in_halves [pytest's options]`.

The halves are fixed, and each keeps the order of its files. So a test meets the same neighbours every time.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

FIRST = ("actors", "citer", "cluster", "engines", "learner", "rewards", "relay")
"""folders of the first half; all else is the second"""


def main(options: list[str]) -> int:
    """Run both halves, print the output of the second one after the first, and return the worse exit status."""
    tests = Path(__file__).parent
    folders = [str(tests / name) for name in FIRST]
    pytest = [sys.executable, "-m", "pytest", *options]
    with tempfile.TemporaryFile() as output:
        ignored = [f"--ignore={folder}" for folder in folders]
        second = subprocess.Popen([*pytest, str(tests), *ignored], stdout=output, stderr=subprocess.STDOUT)
        try:
            first = subprocess.run([*pytest, *folders], check=False)
            second.wait()
        finally:
            if second.poll() is None:
                second.terminate()
                second.wait()
        output.seek(0)
        sys.stdout.buffer.write(output.read())
    return max(abs(first.returncode), abs(second.returncode))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
