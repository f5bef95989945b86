"""The loop of a chat: read a line, answer it or obey it."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing

from pipelines.chat.screen import Screen
from pipelines.chat.session import Session
from pipelines.chat.words import HELP, NAMES, stats, took
from pipelines.client.connection import Connection
from pipelines.client.errors import ServerError
from pipelines.client.wire import End, Kind, Text, Totals
from pipelines.wording import percent

_TWICE_S = 2.0
"""two interruptions within this time leave"""


class Chat:
    """Reads lines by `read` until the reader leaves. `read` raises EOFError at the end, and KeyboardInterrupt on Ctrl-C."""

    def __init__(
        self,
        connection: Connection,
        session: Session,
        screen: Screen,
        read: Callable[[], str],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._connection, self._session, self._screen, self._read = connection, session, screen, read
        self._clock = clock
        self._interrupted_at = float("-inf")
        self._commands: dict[str, Callable[[str], None]] = {
            "/budget": self._budget,
            "/alone": self._alone,
            "/compare": self._compare,
            "/stats": lambda _: self._say(*stats(self._session)),
            "/reset": self._reset,
            "/help": lambda _: self._say(*HELP.splitlines()),
        }

    def run(self) -> bool:
        """Go on until the reader leaves. Return whether the last answer came whole."""
        went_well = True
        while True:
            try:
                line = self._read().strip()
            except EOFError:
                return went_well
            except KeyboardInterrupt:
                if self._leaves():
                    return went_well
                self._say("", "Ctrl-C again leaves, as /quit does")
                continue
            if line in ("/quit", "/exit"):
                return went_well
            try:
                if line.startswith("/"):
                    self._obey(line)
                elif line:
                    went_well = self._answer(line)
            except KeyboardInterrupt:
                self._screen.end()
                if self._leaves():
                    return went_well
                self._say("stopped; Ctrl-C again leaves")

    def _leaves(self) -> bool:
        before, self._interrupted_at = self._interrupted_at, self._clock()
        return self._interrupted_at - before < _TWICE_S

    def _obey(self, line: str) -> None:
        name, _, argument = line.partition(" ")
        command = self._commands.get(name)
        if command is None:
            self._say(f"there is no command {name}: {', '.join(self._commands)}, /quit")
            return
        command(argument.strip())

    def _answer(self, question: str) -> bool:
        """Show the answers of all that are asked. Return whether they came whole."""
        kinds = self._session.asked
        went_well = True
        bodies = {kind: self._session.body(kind, question) for kind in kinds}
        for kind in kinds:
            if len(kinds) > 1:
                self._screen.line(f"{NAMES[kind]}:", "bold")
            went_well &= self._one(kind, bodies[kind], question)
        return went_well

    def _one(self, kind: Kind, body: dict[str, object], question: str) -> bool:
        written: list[str] = []
        ended: End | None = None
        try:
            with closing(self._connection.stream(body)) as events:
                for event in events:
                    if isinstance(event, Text):
                        written.append(event.text)
                        self._screen.write(event.writer if kind == "relay" else "student", event.text)
                    elif isinstance(event, End):
                        ended = event
                    elif isinstance(event, Totals):
                        self._session.currency = event.currency
        except ServerError as error:
            if written:
                self._screen.end()
            self._screen.line(f"no whole answer: {error}", "red")
            return False
        except KeyboardInterrupt:
            self._keep(kind, question, written)
            raise
        self._screen.end()
        self._keep(kind, question, written)
        if ended is not None:
            self._session.count(kind, ended.summary)
            cut = ", cut off at the greatest length" if ended.finish_reason == "length" else ""
            self._say(f"[{took(kind, ended.summary, self._session.currency)}{cut}]")
        return True

    def _keep(self, kind: Kind, question: str, written: list[str]) -> None:
        if kind == self._session.main and written:
            self._session.keep(question, "".join(written))

    def _budget(self, argument: str) -> None:
        if argument:
            try:
                ratio = None if argument == "off" else float(argument)
            except ValueError:
                ratio = -1.0
            if ratio is not None and not 0.0 <= ratio <= 1.0:
                self._say(f"/budget takes a share from 0 to 1, such as 0.2, or off; not {argument}")
                return
            self._session.max_call_ratio = ratio
        limit = self._session.max_call_ratio
        self._say("no limit" if limit is None else f"the teacher writes at most {percent(limit)} of an answer")

    def _alone(self, argument: str) -> None:
        if "student" not in self._session.models:
            self._say("this server does not serve the student alone")
            return
        self._session.is_alone = not self._session.is_alone
        self._say("the student answers alone" if self._session.is_alone else "the student may call the teacher")

    def _compare(self, argument: str) -> None:
        self._session.compares = not self._session.compares
        others = " and ".join(NAMES[kind] for kind in self._session.asked[1:])
        if self._session.compares and not others:
            self._session.compares = False
            self._say("this server serves no other model to compare with")
            return
        self._say(f"each question also goes to {others}" if self._session.compares else "no comparison")

    def _reset(self, argument: str) -> None:
        self._session.messages.clear()
        self._session.totals.clear()
        self._say("the conversation begins anew")

    def _say(self, *lines: str) -> None:
        for line in lines:
            self._screen.line(line, "dim")
