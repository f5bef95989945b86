"""Answers over scripted engines: what is aborted, what a broken call leaves, and when the teacher counts as away."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field, replace

import pytest

from actors.engines.base import Engine, EngineError, Generation, GenerationRequest, OnTokens
from actors.engines.pacing import Pace
from actors.relay.handoff import RelayPrompt
from actors.serving.events import CallBegan, CallReport, Event, Summary, TeacherState
from actors.serving.pieces import Piece
from actors.serving.request import AnswerRequest, ModelKind
from actors.serving.teachers import WatchedTeachers
from actors.settings import SamplingSettings
from actors.trajectory import CallEnding, Source
from tests.serving.stack import Stack, scripted, settings, tokenizer

CALLING = "94<call>3</call>"
PROMPT = RelayPrompt((1, 2, 3), (1, 2, 3))


def request(**changes: object) -> AnswerRequest:
    values: dict[str, object] = {
        "kind": ModelKind.RELAY,
        "prompt": PROMPT,
        "max_tokens": 40,
        "max_calls": 3,
        "student_sampling": SamplingSettings(),
        "teacher_sampling": SamplingSettings(),
    }
    return AnswerRequest(**(values | changes))  # type: ignore[arg-type]


def student(turn: GenerationRequest) -> str:
    """Call once, then write 7."""
    return "7" if len(turn.prompt_ids) > 5 or turn.excluded else CALLING


async def answered(of: Stack, asked: AnswerRequest, teachers: WatchedTeachers | None = None) -> list[Event]:
    return [event for events in [batch async for batch in of.answerer(teachers).answer(asked)] for event in events]


def text(events: Sequence[Event]) -> str:
    return "".join(event.text for event in events if isinstance(event, Piece))


def summary(events: Sequence[Event]) -> Summary:
    assert isinstance(events[-1], Summary)
    return events[-1]


@dataclass
class Broken:
    """A teacher that writes some tokens and then fails, or never goes on."""

    tokens: list[int]
    fails: bool = True
    wrote: asyncio.Event = field(default_factory=asyncio.Event)
    in_flight: int = 0

    async def generate(self, request: GenerationRequest, on_tokens: OnTokens | None = None) -> Generation:
        self.in_flight += 1
        try:
            if on_tokens is not None and self.tokens:
                on_tokens(self.tokens, [0.0] * len(self.tokens))
            self.wrote.set()
            await asyncio.sleep(0)
            if self.fails:
                raise EngineError("it broke")
            await asyncio.Event().wait()
            raise AssertionError
        finally:
            self.in_flight -= 1


async def test_the_events_of_an_answer_come_in_order() -> None:
    events = await answered(Stack(scripted(student), scripted(lambda _: "*28"), settings()), request())
    kinds = [type(event) for event in events]
    assert kinds[-1] is Summary
    began, ended = kinds.index(CallBegan), kinds.index(CallReport)
    assert text(events[:began]) == "94"
    assert text(events[began:ended]) == "*28"
    assert text(events[ended:]) == "7"


async def test_tokens_of_a_call_that_breaks_stay_as_they_were_shown() -> None:
    teacher = Broken(tokenizer().encode("*2"))
    of = Stack(scripted(student), teacher, settings())
    events = await answered(of, request())
    assert text(events) == "94*27"
    (call,) = summary(events).calls
    assert (call.ending, call.written, call.reason) == (CallEnding.FAILED, 2, "it broke")
    assert (call.start, call.end) == (2, 4)
    assert [span.writer for span in summary(events).spans] == [Source.STUDENT, Source.TEACHER, Source.STUDENT]
    assert summary(events).usage.teacher.written_tokens == 2
    # The student went on after them.
    assert of.student.requests[-1].prompt_ids[-2:] == tokenizer().encode("*2")  # type: ignore[attr-defined]


async def test_closing_an_answer_aborts_the_turn_of_either_engine() -> None:
    teacher = Broken(tokenizer().encode("*"), fails=False)
    answer = Stack(scripted(student), teacher, settings()).answerer().answer(request())
    async for _ in answer:
        if teacher.in_flight:
            break
    await answer.aclose()
    await asyncio.sleep(0)
    assert teacher.in_flight == 0
    waiting = Broken([], fails=False)
    answer = Stack(waiting, scripted([]), settings()).answerer().answer(request())
    first = asyncio.ensure_future(anext(answer))
    await waiting.wrote.wait()
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    await asyncio.sleep(0)
    assert waiting.in_flight == 0


async def test_a_stop_text_aborts_the_call_under_way() -> None:
    teacher = Broken(tokenizer().encode("*28"), fails=False)
    events = await answered(Stack(scripted(student), teacher, settings()), request(stops=("28",)))
    assert text(events) == "94*"
    assert summary(events).stop_text == "28"
    assert summary(events).calls[0].ending is CallEnding.END_OF_TEXT
    assert summary(events).teacher_tokens == 3
    await asyncio.sleep(0)
    assert teacher.in_flight == 0


async def test_a_teacher_that_fails_again_and_again_is_away_until_a_probe_finds_it() -> None:
    broken = [True]

    def teacher(turn: GenerationRequest) -> str | Exception:
        return EngineError("no route") if broken[0] else "*28"

    of = Stack(scripted(student), scripted(teacher), settings(outage={"failures": 2, "probe_s": 0.01}))
    teachers = of.teachers()
    states = [summary(await answered(of, request(), teachers)) for _ in range(3)]
    assert [one.teacher for one in states] == [TeacherState.ON, TeacherState.ON, TeacherState.AWAY]
    assert [len(one.calls) for one in states] == [1, 1, 0]
    broken[0] = False
    async with asyncio.timeout(10):
        while teachers.away:
            await asyncio.sleep(0.01)
    back = summary(await answered(of, request(), teachers))
    assert (back.teacher, back.teacher_tokens) == (TeacherState.ON, 3)
    await teachers.close()


async def test_a_call_without_room_in_the_teachers_context_does_not_count_as_an_outage() -> None:
    of = Stack(scripted(student), scripted([]), settings(outage={"failures": 1}))
    teachers = of.teachers()
    longer = RelayPrompt((1, 2, 3), tuple(range(1, 127)))
    events = await answered(of, request(prompt=longer), teachers)
    assert summary(events).calls[0].ending is CallEnding.FAILED
    assert not teachers.away


async def test_an_error_of_the_student_is_raised() -> None:
    with pytest.raises(EngineError, match="broken"):
        await answered(Stack(scripted([EngineError("broken")]), scripted([]), settings()), request())


async def test_a_call_that_the_budget_leaves_no_token_for_is_told_too() -> None:
    events = await answered(Stack(scripted(student), scripted([]), settings()), request(max_call_ratio=0.01))
    (call,) = summary(events).calls
    assert (call.ending, call.written, call.start, call.end) == (CallEnding.BUDGET, 0, 2, 2)
    assert text(events) == "947"


@pytest.mark.parametrize("stops", [(), ("7012", "34")])
@pytest.mark.parametrize("kind", [ModelKind.RELAY, ModelKind.STUDENT])
async def test_a_slow_pace_changes_no_answer(kind: ModelKind, stops: tuple[str, ...]) -> None:
    async def events(pace: Pace) -> tuple[list[Event], list[Event]]:
        turns = ["94<call>3</call>", "70123456789<call>2</call>", "0123456789"]
        of = Stack(scripted(turns), scripted(["701", "34"]), settings(), pace=pace)
        found = await answered(of, request(kind=kind, stops=stops, max_calls=3 if kind is ModelKind.RELAY else 0))
        return found, [without_times(event) for event in found if not isinstance(event, Piece | CallBegan)]

    def without_times(event: CallReport | Summary) -> CallReport | Summary:
        if isinstance(event, CallReport):
            return replace(event, duration_s=0.0, first_token_s=None)
        return replace(event, duration_s=0.0, calls=tuple(map(without_times, event.calls)))  # type: ignore[arg-type]

    (fast, numbers), (slow, slow_numbers) = await events(Pace()), await events(Pace(0.001))

    assert text(slow) == text(fast) and slow_numbers == numbers
    began = [[event for event in found if isinstance(event, CallBegan)] for found in (slow, fast)]
    assert began[0] == began[1]


@pytest.mark.parametrize(("pace", "together"), [(Pace(), False), (Pace(0.001), True)])
async def test_under_a_slow_pace_only_first_texts_calls_and_the_end_go_out_at_once(pace: Pace, together: bool) -> None:
    """The teacher waits within its turn and the student within its last, so what has to be seen by then cannot come later."""
    gates = [asyncio.Event(), asyncio.Event()]

    def slow(turns: list[str], place: tuple[int, int], gate: asyncio.Event) -> Engine:
        """Return an engine that tells its tokens one by one, and waits at one place: before a token of a turn."""
        inner, turn = scripted(turns), -1

        class Slow:
            async def generate(self, request: GenerationRequest, on_tokens: OnTokens | None = None) -> Generation:
                nonlocal turn
                turn += 1
                generation = await inner.generate(request)
                assert on_tokens is not None
                for i, token in enumerate(generation.token_ids.tolist()):
                    if (turn, i) == place:
                        await gate.wait()
                    on_tokens([token], [0.0])
                    await asyncio.sleep(0)
                return generation

        return Slow()

    student = slow(["94<call>3</call>", "8123"], (1, 3), gates[1])
    teacher = slow(["701"], (0, 2), gates[0])
    seen: list[list[Event]] = []
    answer = Stack(student, teacher, settings(), pace=pace).answerer().answer(request(max_tokens=15))
    reader = asyncio.ensure_future(_collect(answer, seen))
    for _ in range(100):
        await asyncio.sleep(0)
    events = [event for batch in seen for event in batch]
    assert text(events).startswith("947") and any(isinstance(event, CallBegan) for event in events)
    assert (text(events) == "947") is together
    gates[0].set()
    for _ in range(100):
        await asyncio.sleep(0)
    events = [event for batch in seen for event in batch]
    assert text(events).startswith("947018") and any(isinstance(event, CallReport) for event in events)
    gates[1].set()
    await reader
    assert isinstance(seen[-1][-1], Summary)


async def _collect(answer: AsyncIterator[list[Event]], seen: list[list[Event]]) -> None:
    async for events in answer:
        seen.append(events)
