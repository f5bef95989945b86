"""All guard rails of one process that speaks HTTP."""

from __future__ import annotations

import logging
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

from actors.relay.usage import Prices
from actors.serving.guards.admission import Admission
from actors.serving.guards.budgets import Allowance, AnswerBounds, DayBudgets, ledger_path
from actors.serving.guards.keys import Caller, KeyRing
from actors.serving.guards.ledger import Ledger
from actors.serving.guards.settings import GuardSettings

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class GuardRails:
    """Who may ask, how many at a time, and how much on one day."""

    settings: GuardSettings
    keys: KeyRing
    admission: Admission
    budgets: DayBudgets | None
    """None without API keys: nobody has a budget then, and nothing is kept"""

    async def allowance(self, caller: Caller, bounds: AnswerBounds, until: AsyncExitStack) -> Allowance | None:
        """Reserve what a request may use, until the end of a block. Return None if nothing is counted. Raises `ApiError`."""
        return None if self.budgets is None else await until.enter_async_context(self.budgets.allowed(caller, bounds))

    async def drain(self, timeout_s: float) -> None:
        """Refuse new requests, and return when those under way have ended and what they used is on disk."""
        self.admission.drain()
        if not await self.admission.drained(timeout_s):
            logger.warning("%d requests are still under way after %g s", self.admission.running, timeout_s)
        if self.budgets is not None:
            await self.budgets.settled()


def guard_rails(settings: GuardSettings, prices: Prices) -> GuardRails:
    """Return the guard rails. Raises `ApiKeyError` if a key cannot be used, and `LedgerError` if the ledger cannot."""
    keys = KeyRing(settings)
    budgets = None
    if not keys.empty:
        budgets = DayBudgets(Ledger(ledger_path(settings, Path.cwd()), settings.reservation_s), prices)
    return GuardRails(settings, keys, Admission(settings), budgets)
