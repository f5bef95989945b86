"""Day budgets for the server: what a request may use, reserved before its answer and settled after it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from actors.relay.usage import Prices
from actors.serving.errors import ApiError
from actors.serving.guards.amounts import MICRO, Amounts, Limits, cost_in_micro
from actors.serving.guards.keys import Caller
from actors.serving.guards.ledger import BudgetSpentError, Ledger, LedgerError, Reservation
from actors.serving.guards.settings import GuardSettings

logger = logging.getLogger(__name__)

LEDGER = "ledger.sqlite"
_NAMES = {"requests": "requests", "teacher_tokens": "teacher tokens", "cost_micro": "cost"}
_HELD_RETRY_S = 5.0
_REJECTED_TURNS = 4
"""turns that a student may waste on commands that are not executed, as far as a worst case foresees"""


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerBounds:
    """What bounds one request's answers, before any budget."""

    prompt_tokens: int
    max_new_tokens: int
    max_calls: int
    """0 if the student answers alone"""
    choices: int = 1
    max_teacher_tokens: int | None = None
    """of each choice, as the request says"""
    max_cost: float | None = None
    """of each choice, as the request says"""
    by_teacher: bool = False
    """whether the teacher answers alone"""

    def worst(self, prices: Prices) -> Amounts:
        """Return the most that the answers may use, if no prefix cache helps."""
        calls = 1 if self.by_teacher else self.max_calls
        tokens = self.max_new_tokens if calls else 0
        if self.max_teacher_tokens is not None:
            tokens = min(tokens, self.max_teacher_tokens)
        turns = 0 if self.by_teacher else calls + 1 + _REJECTED_TURNS
        context = self.prompt_tokens + self.max_new_tokens
        priced = 0.0
        for model, read, written in (
            (prices.student, turns, self.max_new_tokens * (turns > 0)),
            (prices.teacher, calls, tokens),
        ):
            priced += read * context * max(model.input, model.cached_input) + written * model.output
        cost = priced / MICRO if self.max_cost is None else min(priced / MICRO, self.max_cost)
        return Amounts(requests=1, teacher_tokens=tokens * self.choices, cost_micro=self.choices * cost_in_micro(cost))


class Allowance:
    """What one request may use. Note what it uses as its answers go on."""

    def __init__(self, limits: Limits, reservation: Reservation) -> None:
        self._limits, self._reserved = limits, reservation.amounts
        self.noted: Amounts | None = None
        """what all choices together used so far; None before the first note"""

    @property
    def teacher_tokens(self) -> int | None:
        """Most tokens that the teacher may write for all choices together; None if the key has no such budget."""
        return None if self._limits.teacher_tokens is None else self._reserved.teacher_tokens

    @property
    def cost(self) -> float | None:
        """Most money for all choices together; None if the key has no such budget."""
        return None if self._limits.cost_micro is None else self._reserved.cost

    def per_choice(self, bounds: AnswerBounds) -> AnswerBounds:
        """Return the bounds of each choice, so that all of them together keep within this allowance."""
        tokens, cost = bounds.max_teacher_tokens, bounds.max_cost
        if self.teacher_tokens is not None:
            share = self.teacher_tokens // bounds.choices
            tokens = share if tokens is None else min(tokens, share)
        if self._limits.cost_micro is not None:
            part = self._reserved.cost_micro // bounds.choices / MICRO
            cost = part if cost is None else min(cost, part)
        return replace(bounds, max_teacher_tokens=tokens, max_cost=cost)

    def note(self, teacher_tokens: int, cost: float) -> None:
        """Say what all choices together used so far. The last note counts, so give totals and not differences."""
        self.noted = Amounts(requests=1, teacher_tokens=teacher_tokens, cost_micro=cost_in_micro(cost))


class DayBudgets:
    """Keeps every caller within the day's budget of its API key."""

    def __init__(self, ledger: Ledger, prices: Prices) -> None:
        self._ledger, self._prices = ledger, prices
        self._settling: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def allowed(self, caller: Caller, bounds: AnswerBounds) -> AsyncIterator[Allowance]:
        """Reserve what the request may use; settle what it used when the block ends, however it ends.

        What was noted last is settled. Without a note, a block that fails with an error has used nothing. Any other block,
        such as that of a client who left, has used an unknown amount: it is charged with all that was reserved. A caller
        without a budget is counted too.

        Raises `ApiError`: 429 if nothing is left of the day's budget, 503 if the ledger's file cannot be used.
        """
        reservation = await self._reserve(caller, bounds.worst(self._prices))
        allowance = Allowance(caller.limits, reservation)
        used = reservation.amounts
        try:
            yield allowance
            used = allowance.noted or used
        except Exception:
            used = allowance.noted or Amounts()
            raise
        except BaseException:
            used = allowance.noted or used
            raise
        finally:
            await asyncio.shield(self._finish(self._settle(reservation, used)))

    async def _reserve(self, caller: Caller, worst: Amounts) -> Reservation:
        reserving = asyncio.create_task(asyncio.to_thread(self._ledger.reserve, caller.name, caller.limits, worst))
        try:
            return await asyncio.shield(reserving)
        except BudgetSpentError as error:
            raise _spent(error) from None
        except LedgerError as error:
            logger.error("%s", error)
            raise ApiError(
                503,
                "the server cannot count its budgets",
                code="ledger_unavailable",
                retry_after_s=60.0,
            ) from error
        except asyncio.CancelledError:  # the thread goes on
            self._finish(self._give_back(reserving))
            raise

    async def _give_back(self, reserving: asyncio.Task[Reservation]) -> None:
        with contextlib.suppress(BudgetSpentError, LedgerError):
            await self._settle(await reserving, Amounts())

    async def _settle(self, reservation: Reservation, used: Amounts) -> None:
        try:
            await asyncio.to_thread(self._ledger.settle, reservation, used)
        except LedgerError as error:  # the reservation stays until it expires
            logger.error("%s; %s used %s, which is not counted", error, reservation.key, used)

    def _finish(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        """Do some work in a task that ends although the answer's own is cancelled."""
        task = asyncio.create_task(work)
        self._settling.add(task)
        task.add_done_callback(self._settling.discard)
        return task

    async def settled(self) -> None:
        """Wait until everything is on disk. Call it after the last answer."""
        while self._settling:
            await asyncio.wait(set(self._settling))


async def until_answered() -> AsyncIterator[AsyncExitStack]:
    """Yield a stack that is closed when the answer, and be it a stream, has ended. It is a FastAPI dependency.

    A route enters `DayBudgets.allowed` on it before it returns a stream. So an error still has its status, and what was used
    is settled however the stream ends.
    """
    async with AsyncExitStack() as stack:
        yield stack


def ledger_path(settings: GuardSettings, beside: Path) -> Path:
    """Return the ledger's file: the one of the settings, or `LEDGER` in the folder `beside`."""
    return settings.ledger or beside / LEDGER


def _spent(error: BudgetSpentError) -> ApiError:
    amount = _NAMES[error.amount]
    limit = f"{error.limit / MICRO:g}" if error.amount == "cost_micro" else str(error.limit)
    if not error.spent:
        return ApiError(
            429,
            f"requests under way hold the rest of today's {amount} of {error.key} ({limit} a day): try again when they have ended",
            code="budget_reserved",
            retry_after_s=_HELD_RETRY_S,
        )
    advice = "; with relay.teacher off the student still answers" if error.amount == "teacher_tokens" else ""
    return ApiError(
        429,
        f"today's {amount} of {error.key} are spent ({limit} a day): the next day begins at midnight UTC{advice}",
        code="budget_exceeded",
        retry_after_s=error.until_midnight_s,
    )
