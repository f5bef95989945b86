"""The only thread that touches a vLLM engine: it steps the engine, and does between two steps what it is asked to."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from typing import TypeVar

from actors.engines.base import EngineError
from cluster.errors import RunError

T = TypeVar("T")


class Phase(Enum):
    """What an engine can do at present."""

    WRITING = auto()
    TRANSFERRING = auto()
    """nothing but receive weights from the learner"""
    ASLEEP = auto()
    """nothing: it has neither weights nor KV cache"""
    WEIGHTS_AWAKE = auto()
    """take weights; it has no KV cache to write with"""


ANY_PHASE = frozenset(Phase)
WRITING = frozenset({Phase.WRITING})


@dataclass(frozen=True, slots=True)
class _Message:
    action: Callable[[], None]
    fail: Callable[[EngineError], object]
    """tells whoever waits that the action will never be done"""
    needs_drain: bool
    phases: frozenset[Phase]


class EngineThread:
    """Calls from any event loop become messages, which the thread takes between two steps.

    So requests join the running batch at once, and new weights arrive when no token is being computed.
    """

    def __init__(
        self,
        step: Callable[[], None],
        busy: Callable[[], bool],
        ended: Callable[[EngineError], None],
        deadly: type[Exception],
        name: str,
    ) -> None:
        """Start the thread. It calls `step` while the engine is `busy`, and `ended` once, when it stops or the engine dies.

        The engine is dead when a step fails, or when anything raises `deadly`.
        """
        self.phase = Phase.WRITING
        """to be changed by messages only"""
        self._step, self._busy, self._ended, self._deadly = step, busy, ended, deadly
        self._mail: queue.SimpleQueue[_Message | None] = queue.SimpleQueue()
        self._after_drain: _Message | None = None
        self._held: deque[_Message] = deque()
        self._before_drain: deque[Callable[[], None]] = deque()
        self._failure: EngineError | None = None
        self._failing = threading.Lock()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def check(self) -> None:
        """Raise `EngineError` if the thread has ended."""
        if self._failure is not None:
            raise self._failure

    def post(
        self,
        action: Callable[[], None],
        fail: Callable[[EngineError], object] = lambda error: None,
        needs_drain: bool = False,
        phases: frozenset[Phase] = WRITING,
    ) -> None:
        """Have `action` done in one of `phases`; `fail` is called if that will never be.

        It waits for its phase, unless the engine is writing, out of which only other messages lead. One that `needs_drain`
        waits for the turns in flight, and later messages wait behind it.
        """
        self._mail.put(_Message(action, fail, needs_drain, phases))
        if self._failure is not None:
            self._fail_mail(self._failure)

    def post_before_drain(self, action: Callable[[], None]) -> None:
        """Have `action` done as soon as the engine is writing, before all other messages, those that wait for a drain too.

        It is for what shortens a drain; it is left undone when the thread ends.
        """
        self._before_drain.append(action)
        self._mail.put(
            _Message(lambda: None, lambda error: None, needs_drain=False, phases=ANY_PHASE)
        )  # wakes the thread

    async def call(
        self,
        action: Callable[[], None],
        what: str,
        needs_drain: bool = False,
        phases: frozenset[Phase] = WRITING,
    ) -> None:
        """Post `action` and wait until it is done; raises `EngineError`, which names `what`, if it fails, and a `RunError` as it is."""
        self.check()
        loop = asyncio.get_running_loop()
        done: asyncio.Future[None] = loop.create_future()

        def act() -> None:
            try:
                action()
            except Exception as error:  # reported to the caller, whose decision it is
                dead = isinstance(error, self._deadly)
                if dead:
                    self._failure = _died(error)  # before the caller is told, who may ask
                passes = isinstance(error, RunError) and not isinstance(error, EngineError)
                told = error if passes else EngineError(f"{what} failed: {error!r}")
                loop.call_soon_threadsafe(reject, [done], told)
                if dead:
                    raise
            else:
                loop.call_soon_threadsafe(resolve, [(done, None)])

        self.post(act, lambda error: loop.call_soon_threadsafe(reject, [done], error), needs_drain, phases)
        await done

    def shutdown(self) -> None:
        """Stop the thread; what is still asked of it fails with `EngineError`."""
        self._mail.put(None)
        self._thread.join(timeout=30)

    def _run(self) -> None:
        try:
            while self._take_mail():
                self._step()
            failure = EngineError("the vLLM engine was shut down")
        except BaseException as error:
            failure = _died(error)
        self._failure = failure
        self._ended(failure)
        self._fail_mail(failure)

    def _take_mail(self) -> bool:
        """Do what was asked for since the last step, waiting while there is nothing to compute; return False at shutdown."""
        while True:
            if self.phase is not Phase.WRITING:  # and no turn is being written, or it stands still
                received = self._next_of_phase()
                if received is None:
                    return False
                received.action()
                continue
            while self._before_drain:
                self._before_drain.popleft()()
            busy = self._busy()
            if self._after_drain is not None:
                if busy:
                    return True
                message, self._after_drain = self._after_drain, None
                message.action()
                continue
            try:
                received = self._held.popleft() if self._held else self._mail.get(block=not busy)
            except queue.Empty:
                return True
            if received is None:
                return False
            if Phase.WRITING not in received.phases:
                received.fail(EngineError("the engine is not being sent weights: has it restarted meanwhile?"))
            elif received.needs_drain:
                self._after_drain = received
            else:
                received.action()

    def _next_of_phase(self) -> _Message | None:
        """Wait for a message that this phase allows, those that were held first; None at shutdown."""
        for message in self._held:
            if self.phase in message.phases:
                self._held.remove(message)
                return message
        while (received := self._mail.get()) is not None and self.phase not in received.phases:
            self._held.append(received)
        return received

    def _fail_mail(self, failure: EngineError) -> None:
        """Tell everyone who still waits; also called by those who come after the thread's end."""
        with self._failing:
            waiting = [*([self._after_drain] if self._after_drain is not None else []), *self._held]
            self._after_drain = None
            self._held.clear()
            while not self._mail.empty():
                if (message := self._mail.get()) is not None:
                    waiting.append(message)
        for message in waiting:
            message.fail(failure)


def _died(error: BaseException) -> EngineError:
    failure = EngineError(f"the vLLM engine died: {error!r}")
    failure.__cause__ = error
    return failure


def resolve(results: list[tuple[asyncio.Future[T], T]]) -> None:
    """Set the results of futures that still wait, in their event loop."""
    for future, result in results:
        if not future.done():
            future.set_result(result)


def reject(futures: list[asyncio.Future[T]], error: Exception) -> None:
    """Set the error of futures that still wait, in their event loop."""
    for future in futures:
        if not future.done():
            future.set_exception(error)
