"""The only thread that touches a vLLM engine. It runs the engine's steps, and executes requested actions between two steps."""

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
    """What an engine can do in its present state."""

    WRITING = auto()
    TRANSFERRING = auto()
    """it receives weights from the learner and can do nothing else"""
    ASLEEP = auto()
    """it has neither weights nor KV cache, and can do nothing"""
    WEIGHTS_AWAKE = auto()
    """it can take weights, but cannot write without its KV cache"""


ANY_PHASE = frozenset(Phase)
WRITING = frozenset({Phase.WRITING})


@dataclass(frozen=True, slots=True)
class _Message:
    action: Callable[[], None]
    fail: Callable[[EngineError], object]
    """tells the caller that the action will never be done"""
    needs_drain: bool
    phases: frozenset[Phase]


class EngineThread:
    """Turns calls from any event loop into messages, and handles them between two engine steps.

    So a request joins the running batch at once, and new weights never arrive during a step.
    """

    def __init__(
        self,
        step: Callable[[], None],
        busy: Callable[[], bool],
        ended: Callable[[EngineError], None],
        deadly: type[Exception],
        name: str,
    ) -> None:
        """Start the thread. It calls `step` while the engine is `busy`. When it stops, it calls `ended` once.

        The engine counts as dead when a step or a posted action fails, or when an action of `call` raises `deadly`.
        """
        self.phase = Phase.WRITING
        """only messages may change it"""
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
        """Ask the thread to do `action` in one of `phases`. If it cannot, it calls `fail` instead.

        The action waits for one of its phases. If the engine is writing and `phases` lacks WRITING, it fails at once: only
        another message could end the writing. An action that `needs_drain` waits for the turns in flight, and later
        messages wait behind it.
        """
        self._mail.put(_Message(action, fail, needs_drain, phases))
        if self._failure is not None:
            self._fail_mail(self._failure)

    def post_before_drain(self, action: Callable[[], None]) -> None:
        """Ask the thread to do `action` before all other messages, as soon as the engine is writing.

        It also goes before a message that waits for a drain: an aborted request shortens the drain. When the thread ends, the
        action is dropped.
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
        """Post `action` and wait until it is done.

        If it fails, raises an `EngineError` that names `what`. A `RunError` of another kind is raised unchanged.
        """
        self.check()
        loop = asyncio.get_running_loop()
        done: asyncio.Future[None] = loop.create_future()

        def act() -> None:
            try:
                action()
            except Exception as error:  # reported to the caller, whose decision it is
                dead = isinstance(error, self._deadly)
                if dead:
                    self._failure = _died(error)  # set first: the caller may call `check` as soon as it is told
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
        """Stop the thread. Actions that still wait fail with `EngineError`."""
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
        """Handle the messages since the last step; block while the engine has nothing to compute. Return False at shutdown."""
        while True:
            if self.phase is not Phase.WRITING:  # no step may run now
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
                received.fail(EngineError("no weight transfer is under way on this engine: it may have restarted"))
            elif received.needs_drain:
                self._after_drain = received
            else:
                received.action()

    def _next_of_phase(self) -> _Message | None:
        """Wait for a message that this phase allows, and return it; held messages go first. Return None at shutdown."""
        for message in self._held:
            if self.phase in message.phases:
                self._held.remove(message)
                return message
        while (received := self._mail.get()) is not None and self.phase not in received.phases:
            self._held.append(received)
        return received

    def _fail_mail(self, failure: EngineError) -> None:
        """Fail all waiting messages. `post` also calls this, for messages that arrive after the thread has ended."""
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
    """Set the results of the futures that are not done. Call it in their event loop."""
    for future, result in results:
        if not future.done():
            future.set_result(result)


def reject(futures: list[asyncio.Future[T]], error: Exception) -> None:
    """Set the error of the futures that are not done. Call it in their event loop."""
    for future in futures:
        if not future.done():
            future.set_exception(error)
