"""Command line of the report: `python -m pipelines.report <run directory>`."""

import argparse
import sys
from pathlib import Path

from pipelines.report.data import RunReadError
from pipelines.report.page import write_report


def main(arguments: list[str] | None = None) -> int:
    """Write the report and print its path; 1, with the reason on stderr, where the run cannot be read."""
    parser = argparse.ArgumentParser(prog="python -m pipelines.report", description="Write report.html of a run.")
    parser.add_argument("run_dir", type=Path, help="the run's directory, which holds metrics.jsonl")
    try:
        path = write_report(parser.parse_args(arguments).run_dir)
    except RunReadError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
