"""Runs checks side by side. None can hang or crash the others: each has a thread and a time limit."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from pipelines.doctor.findings import Finding, Group, warning


@dataclass(frozen=True, slots=True)
class Check:
    """One thing to look at."""

    group: Group
    name: str
    look: Callable[[], Iterable[Finding]]
    limit_s: float = 20.0


def results(checks: Sequence[Check]) -> tuple[list[Finding], bool]:
    """Return all findings in the order of the checks, and whether a check is still going on because it hangs.

    A check that fails itself, or takes longer than its limit, becomes a warning that says so.
    """
    started = [_Running(check) for check in checks]
    found = [finding for running in started for finding in running.findings()]
    return found, any(running.hangs for running in started)


class _Running:
    def __init__(self, check: Check) -> None:
        self._check = check
        self._found: list[Finding] | None = None
        self._thread = threading.Thread(target=self._run, name=f"check-{check.name}", daemon=True)
        self._ends_at = time.monotonic() + check.limit_s
        self._thread.start()

    @property
    def hangs(self) -> bool:
        return self._thread.is_alive()

    def findings(self) -> list[Finding]:
        """Return what was found, or after the limit a warning in its place."""
        self._thread.join(max(self._ends_at - time.monotonic(), 0.0))
        if self._found is not None:
            return self._found
        check = self._check
        text = f"no answer within {check.limit_s:g} s, so nothing is known"
        return [warning(check.group, check.name, text, "look at what it waits for, or try again on an idle machine")]

    def _run(self) -> None:
        check = self._check
        try:
            found = list(check.look())
        except BaseException as error:  # also SystemExit: one check must not end the others
            text = f"the check itself failed: {type(error).__name__}: {first_line(error)}"
            found = [warning(check.group, check.name, text, "nothing is known of this; please report the message")]
        self._found = found


def first_line(error: object) -> str:
    """Return the first line of an error's text that is not empty."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), "no message")
