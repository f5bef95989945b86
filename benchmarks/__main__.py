"""Runs the benchmarks, then writes the tables of docs/performance.md from their results."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.harness import RESULTS, row_from, table

FRAME = {"__init__", "__main__", "harness", "machine"}
FOLDER = Path(__file__).parent
PAGE = FOLDER.parent / "docs" / "performance.md"
BEGIN, END = "<!-- results: begin -->", "<!-- results: end -->"
LIMIT_S = 20 * 60.0
LONG = {"agreement", "early_prefill", "planner", "serving_soak", "soak"}
"""benchmarks that run only by name, because they take longer than the limit"""


def questions() -> list[str]:
    """Return the names of all benchmarks."""
    return sorted(path.stem for path in FOLDER.glob("*.py") if path.stem not in FRAME and not path.stem.startswith("_"))


def rendered(results: Path) -> str:
    """Return the tables of all machines with results in the folder `results`, as Markdown."""
    parts = []
    for path in sorted(results.glob("*.json")):
        stored = json.loads(path.read_text(encoding="utf-8"))
        machine = stored["machine"]
        gpus = f", {len(machine['gpus'])} × {machine['gpus'][0]}" if machine["gpus"] else ", no GPU"
        parts.append(f"### {machine['processor']}, {machine['cores']} cores, {machine['memory_gib']} GiB{gpus}")
        for name, entry in stored["benchmarks"].items():
            packages = ", ".join(f"{package} {number}" for package, number in entry["versions"].items())
            origin = f"`benchmarks/{name}.py`, {entry['measured']}, commit {entry['commit'] or 'unknown'}; {packages}."
            notes = "".join(f"\n* {note}" for note in entry["notes"])
            rows = table([row_from(row) for row in entry["rows"]])
            parts.append(
                f"#### {name}\n\n{origin}\n{notes}\n\n{rows}" if notes else f"#### {name}\n\n{origin}\n\n{rows}"
            )
    return "\n\n".join(parts)


def render(page: Path, results: Path) -> None:
    """Replace the text between the page's markers by the tables. Raises `ValueError` if the markers are missing."""
    text = page.read_text(encoding="utf-8")
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{page} needs the lines {BEGIN} and {END}, which enclose the tables")
    page.write_text(f"{before}{BEGIN}\n\n{rendered(results)}\n\n{END}{after}", encoding="utf-8")


def run_all(names: list[str], quick: bool, limit_s: float = LIMIT_S) -> list[str]:
    """Run these benchmarks one after the other, within `limit_s` seconds in total; return the names of those that failed."""
    deadline, failed = time.monotonic() + limit_s, []
    for name in names:
        command = [sys.executable, "-m", f"benchmarks.{name}", *(["--quick"] if quick else [])]
        started = time.monotonic()
        try:
            code = subprocess.run(command, cwd=FOLDER.parent, timeout=max(deadline - started, 1.0)).returncode
        except subprocess.TimeoutExpired:
            code = -1
            print(f"{name} was stopped: all benchmarks together may take {limit_s:g} s", file=sys.stderr)
        if code:
            failed.append(name)
        print(f"-- {name}: {time.monotonic() - started:.0f} s{' FAILED' if code else ''}\n", flush=True)
    return failed


def _short() -> list[str]:
    return [name for name in questions() if name not in LONG]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "names", nargs="*", help=f"any of: {', '.join(questions())}; by default all except {', '.join(LONG)}"
    )
    parser.add_argument("--quick", action="store_true", help="small sizes, to check that all work; nothing is saved")
    parser.add_argument("--render", action="store_true", help="run nothing, only write the tables")
    options = parser.parse_args()
    if unknown := sorted(set(options.names) - set(questions())):
        parser.error(f"no such benchmark: {', '.join(unknown)}; there are: {', '.join(questions())}")
    failed = [] if options.render else run_all(options.names or _short(), options.quick)
    if not options.quick:
        render(PAGE, RESULTS)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
