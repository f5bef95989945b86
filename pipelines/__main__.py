"""The command line, started as `relayllm` or `python -m pipelines`. Every outcome becomes an exit status."""

from __future__ import annotations

import os
import sys

import click

from actors.learner.errors import LearnerRefusal
from actors.learner.kernels import KernelError
from cluster.errors import RunError, as_raised
from cluster.files import FolderError
from cluster.store.errors import StoreError
from pipelines.commands import relayllm
from pipelines.data.sources import DataError
from pipelines.experiment.loading import ConfigError
from pipelines.records.run_directory import RunDirectoryError
from pipelines.report.run.reading import RunReadError
from pipelines.terminal.interruption import interruptible

_REFUSALS = (
    ConfigError,
    DataError,
    FolderError,
    KernelError,
    LearnerRefusal,
    RunDirectoryError,
    RunReadError,
    StoreError,
)
"""what a user can set right, told in one line each, before anything has started"""


def main(arguments: list[str] | None = None) -> int:
    """Run the command and return the process's exit status."""
    try:
        status: int | None = relayllm.main(arguments, prog_name=_program(), standalone_mode=False)
        sys.stdout.flush()
    except BrokenPipeError:  # the reader of the output, such as `head`, has closed it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except click.exceptions.NoArgsIsHelpError as error:
        print(error.format_message(), file=sys.stderr)
        return 2
    except click.ClickException as error:
        print(f"{_program()}: {error.format_message()}", file=sys.stderr)
        return 2
    except _REFUSALS as error:
        print(error, file=sys.stderr)
        return 2
    except RunError as error:
        print(as_raised(error), file=sys.stderr)
        return 1
    return status or 0


def _program() -> str:
    return "relayllm" if os.path.basename(sys.argv[0]) == "relayllm" else "python -m pipelines"


def console() -> int:
    """Run the command `relayllm`, and return the process's exit status.

    Adds the working directory to the module path, as `python -m` does. So a user's own reward scheme there is found.
    """
    if (here := os.getcwd()) not in sys.path:
        sys.path.insert(0, here)
    return interruptible(main)


if __name__ == "__main__":
    sys.exit(console())
