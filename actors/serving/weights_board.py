"""The newest student weights: told to all student replicas, also to those that start later."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from actors.serving.errors import ApiError, bad
from actors.serving.student_folder import check_exchangeable, student_folder

POLL_S = 5.0
"""longest time that a replica waits for news before it asks again"""
_FORGET_S = 4 * POLL_S


@dataclass(frozen=True, slots=True)
class StudentWeights:
    """Weights of the student, as a policy version."""

    version: int
    path: str


class WeightsBoard:
    """A replica asks it again and again for weights newer than its own. So it learns which replicas there are.

    If the board itself restarts, the replicas tell it what they hold.
    """

    def __init__(self, path: str, timeout_s: float) -> None:
        self._first, self._timeout_s = path, timeout_s
        self._newest = StudentWeights(0, path)
        self._holds: dict[str, tuple[StudentWeights, float]] = {}
        """by replica: what it held when it asked last, and when that was"""
        self._news = asyncio.Condition()
        self._publishing = asyncio.Lock()

    async def newest(self) -> StudentWeights:
        """Return the newest weights."""
        return self._newest

    async def newer(self, replica: str, held: StudentWeights) -> StudentWeights | None:
        """Return weights newer than those that a replica holds, as soon as there are any; None if there are none for a while."""
        async with self._news:
            self._holds[replica] = held, time.monotonic()
            if held.version > self._newest.version:
                self._newest = held
            self._news.notify_all()
            try:
                async with asyncio.timeout(POLL_S):
                    await self._news.wait_for(lambda: self._newest.version > held.version)
            except TimeoutError:
                return None
            finally:
                self._holds[replica] = held, time.monotonic()
            return self._newest

    async def publish(self, path: str) -> dict[str, Any]:
        """Return when all replicas hold the weights of this folder, which may be a model's or a run's.

        Raises `ApiError` if it has no weights that fit, or if a replica does not take them in time.
        """
        try:
            folder = student_folder(Path(path).expanduser())
            check_exchangeable(Path(self._first), folder)
        except (ValueError, OSError) as error:  # also a path that no file system can have
            said = f"{error.strerror}: the path is no folder here" if isinstance(error, OSError) else str(error)
            raise bad("path", said) from error
        async with self._publishing:
            async with self._news:
                version = self._newest.version + 1
                self._newest = StudentWeights(version, str(folder))
                self._news.notify_all()
                try:
                    async with asyncio.timeout(self._timeout_s):
                        await self._news.wait_for(lambda: self._alive() and not self._behind(version))
                except TimeoutError as error:
                    behind = ", ".join(self._behind(version)) or "no student replica answers"
                    raise ApiError(504, f"not all student replicas took the weights in time: {behind}") from error
            return {"path": str(folder), "policy_version": version, "replicas": len(self._alive())}

    def _alive(self) -> dict[str, StudentWeights]:
        now = time.monotonic()
        self._holds = {name: (held, at) for name, (held, at) in self._holds.items() if now - at < _FORGET_S}
        return {name: held for name, (held, _) in self._holds.items()}

    def _behind(self, version: int) -> list[str]:
        return [name for name, held in self._alive().items() if held.version < version]
