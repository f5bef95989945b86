"""The chat against a server with scripted answers."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable, Iterator

import pytest

from pipelines.chat.loop import Chat
from pipelines.chat.screen import Screen, harmless
from pipelines.chat.session import Session
from pipelines.client.connection import Connection
from tests.serving.stand_in import Calls, Drops, Fails, Refuses, StandIn, Waits, Writes, usual

Line = str | type[BaseException]


@pytest.fixture
def server() -> Iterator[StandIn]:
    with StandIn() as running:
        yield running


def shown(server: StandIn, *lines: Line, clock: Callable[[], float] = lambda: 0.0) -> str:
    """Return what the chat shows when these lines are typed; an exception is raised instead of a line."""
    typed = iter(lines)

    def read() -> str:
        line = next(typed, EOFError)
        if isinstance(line, str):
            return line
        raise line

    stream = io.StringIO()
    with Connection(server.url) as connection:
        Chat(connection, Session(connection.models()), Screen({"NO_COLOR": "1"}, stream), read, clock).run()
    return stream.getvalue().replace("\u00a0", " ")


def test_an_answer_marks_the_teachers_part_and_says_what_it_took(server: StandIn) -> None:
    text = shown(server, "What is 6 times 7?")
    assert text.splitlines() == [
        "The sum is ⟦\\boxed{42} for sure⟧, I think.",
        "[call ratio 33.3 %, 1 call, 9 tokens, cost 0.000946 EUR, 1.25 s]",
    ]
    assert server.requests[0]["messages"] == [{"role": "user", "content": "What is 6 times 7?"}]
    assert "relay" not in server.requests[0]


def test_the_conversation_goes_on_until_it_is_reset(server: StandIn) -> None:
    shown(server, "One?", "Two?", "/reset", "Three?")
    roles = [[message["role"] for message in body["messages"]] for body in server.requests]
    assert roles == [["user"], ["user", "assistant", "user"], ["user"]]
    assert server.requests[1]["messages"][1]["content"] == "The sum is \\boxed{42} for sure, I think."


def test_budget_goes_to_the_relay_until_it_is_lifted(server: StandIn) -> None:
    text = shown(server, "/budget 0.05", "One?", "/budget off", "Two?", "/budget 5", "/budget much", "/budget")
    assert [body.get("relay") for body in server.requests] == [{"max_call_ratio": 0.05}, None]
    assert "at most 5.0 % of an answer" in text and text.count("a share from 0 to 1, such as 0.2, or off") == 2
    assert text.endswith("no limit\n")


def test_alone_and_compare_ask_the_other_models(server: StandIn) -> None:
    text = shown(server, "/alone", "One?", "/alone", "/compare", "Two?", "/compare", "Three?")
    models = [body["model"] for body in server.requests]
    assert models == ["demo/student", "demo", "demo/student", "demo/teacher", "demo"]
    assert "student alone:\nThe student says \\boxed{42}.\n" in text and "teacher alone:\nThe teacher says" in text
    assert all(len(body["messages"]) == 3 for body in server.requests[1:4])


def test_stats_add_up_and_unknown_commands_name_the_known(server: StandIn) -> None:
    text = shown(server, "/stats", "One?", "Two?", "/stats", "/what", "/help", "/quit", "Three?")
    assert "no answers yet" in text
    assert (
        "relay: 2 answers, call ratio 33.3 %, 2 calls, 18 tokens, cost 0.00189 EUR (teacher alone 0.0189 EUR)" in text
    )
    assert "there is no command /what: /budget, /alone" in text and "Ctrl-C stops an answer" in text
    assert len(server.requests) == 2


@pytest.mark.parametrize(
    ("steps", "words"),
    [
        ([Writes("Half"), Waits(threading.Event()), Drops()], "the connection to http"),
        (
            [Writes("Half"), Fails("the student died")],
            "Half\nno whole answer: the answer ended early: the student died",
        ),
        (Refuses(429, "2 at once", {"Retry-After": "6.2"}), "too many requests now: 2 at once (try again in 7 s)"),
        (Refuses(429, "spent", code="budget_exceeded"), "today's budget of this key is spent"),
        (Refuses(503, ""), "it has no student, or is being stopped"),
    ],
)
def test_failures_are_one_line_and_are_forgotten(server: StandIn, steps, words: str) -> None:
    scripts = iter([steps])
    if not isinstance(steps, Refuses):
        for step in steps:
            if isinstance(step, Waits):
                step.event.set()
    server.script = lambda body, kind: next(scripts, None) or usual(body, kind)
    text = shown(server, "One?", "Two?")
    assert "no whole answer: " in text and words in text
    assert len(server.requests[-1]["messages"]) == 1


def test_the_teachers_absence_and_failed_calls_are_said(server: StandIn) -> None:
    server.script = lambda body, kind: [Writes("So "), Calls("", 20, "failed", "no answer in 2 s")]
    assert "1 call (1 failed: no answer in 2 s)" in shown(server, "One?")


def test_a_call_that_a_budget_cuts_short_is_said(server: StandIn) -> None:
    server.script = lambda body, kind: [Calls("42", 2), Writes(" and "), Calls("4", 2, "budget")]
    assert "2 calls (1 cut short by the budget)" in shown(server, "/budget 0.1", "Two?")


def test_ctrl_c_at_the_prompt_leaves_only_if_it_is_pressed_twice(server: StandIn) -> None:
    times = iter([0.0, 10.0, 11.0])
    text = shown(server, KeyboardInterrupt, KeyboardInterrupt, KeyboardInterrupt, "One?", clock=lambda: next(times))
    assert text.count("Ctrl-C again leaves") == 2 and server.requests == []


def test_ctrl_c_stops_an_answer_and_keeps_what_came(server: StandIn) -> None:
    waits = [Writes("So far"), Waits(threading.Event())]
    server.script = lambda body, kind: waits if len(body["messages"]) == 1 else usual(body, kind)

    class Interrupted(Screen):
        def write(self, writer: str, text: str) -> None:
            super().write(writer, text)
            if text == " far":
                raise KeyboardInterrupt

    stream, lines = io.StringIO(), iter(["One?", "Two?", "/quit"])
    with Connection(server.url) as connection:
        Chat(
            connection, Session(connection.models()), Interrupted({"NO_COLOR": "1"}, stream), lambda: next(lines)
        ).run()
    assert stream.getvalue().startswith("So far\nstopped; Ctrl-C again leaves\nThe sum is")
    assert server.left.wait(20)
    assert server.requests[1]["messages"][1] == {"role": "assistant", "content": "So far"}


def test_texts_cannot_act_on_the_terminal(server: StandIn) -> None:
    server.script = lambda body, kind: [Writes("a\x1b]0;title\x07b\x1b[31m [bold]x[/bold] \u202egnp\rx")]
    text = shown(server, "One?")
    assert text.startswith(r"a\x1b]0;title\x07b\x1b[31m [bold]x[/bold] \u202egnp\rx")
    assert harmless("\ud800\x9b31m") == "\\ud800\\x9b31m"


def test_an_encoding_without_brackets_gets_plain_ones(server: StandIn) -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    screen = Screen({"NO_COLOR": "1"}, stream)
    screen.write("student", "é ")
    screen.write("teacher", "42")
    screen.end()
    assert stream.buffer.getvalue() == b"? [[42]]\n"  # type: ignore[attr-defined]
