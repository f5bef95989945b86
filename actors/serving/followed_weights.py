"""Keeps a student replica at the newest weights of the board."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from actors.serving.weights_board import StudentWeights

if TYPE_CHECKING:
    from ray.serve.handle import DeploymentHandle

logger = logging.getLogger(__name__)

_RETRY_S = 1.0


class FollowedWeights:
    """Takes newer weights as soon as the board has them."""

    def __init__(
        self, board: DeploymentHandle[Any], path: str, take: Callable[[StudentWeights], Awaitable[None]]
    ) -> None:
        """`path` is the folder that the replica started with; `take` loads weights into its engine."""
        from ray import serve

        self._board, self._take = board, take
        self._replica = serve.get_replica_context().replica_id.unique_id
        self._held = StudentWeights(0, path)
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Take the newest weights, and follow the board from then on. Raises `EngineError` if they cannot be loaded."""
        newest: StudentWeights = await self._board.newest.remote()
        if newest.version > self._held.version:
            await self._take(newest)
            self._held = newest
        self._task = asyncio.ensure_future(self._follow())

    async def _follow(self) -> None:
        while True:
            try:
                newer: StudentWeights | None = await self._board.newer.remote(self._replica, self._held)
                if newer is not None:
                    await self._take(newer)
                    self._held = newer
                    logger.info("this replica now has the weights of policy version %d", newer.version)
            except Exception:  # the board may be restarting, and weights may be unreadable; the answers must go on
                logger.exception("the newest weights could not be taken; trying again")
                await asyncio.sleep(_RETRY_S)

    async def stop(self) -> None:
        """Stop following."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
