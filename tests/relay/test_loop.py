"""The relay loop over scripted engines: random scripts, concurrency, failures, deadlines, cancellation."""

import asyncio
import random
from collections.abc import Collection, Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.engines.base import EngineError, Generation, GenerationRequest, OnTokens
from actors.relay.grammar import CommandGrammar, CommandKind, parse_commands, token_holding, without_commands
from actors.relay.handoff import IdHandoff, RelayPrompt, TextHandoff
from actors.relay.loop import relay, relay_all
from actors.relay.planned_calls import PlannedCall, own_tokens
from actors.relay.sequence import RelaySequence, RelaySetup
from actors.settings import RelayLimits, SamplingSettings
from actors.trajectory import CallEnding, FinishReason, Source, Trajectory
from tests.scripted import PieceTokenizer, ScriptedEngine

PIECES = [
    "<call>",
    "</call>",
    "<",
    "</",
    "call",
    ">",
    ">\n",
    "x<",
    "call>",
    "/",
    *"cal0123ab\n x",
    "12",
    "1</call><call>",
]
TOKENIZER = PieceTokenizer(PIECES)
TEACHER_TOKENIZER = PieceTokenizer(["ab", "<call>", *"<>/cal0123b\n x"])
PROMPT = RelayPrompt(student_ids=(900,), teacher_ids=(950, 951))

FRAGMENTS = [
    ["<call>", "3", "</call>"],
    ["<call>", "12", "</", "call", ">\n"],
    ["x<", "call>", "1", "</call>"],
    ["<", "c", "a", "l", "l", ">", "2", "<", "/", "call", ">"],
    ["<call>", "0", "</call>"],
    ["<call>", "a", "</call>"],
    ["<call>", "1</call><call>"],
    *([piece] for piece in PIECES),
    [""],
]
streams = st.lists(st.sampled_from(FRAGMENTS), max_size=25).map(
    lambda fragments: [PIECES.index(piece) + 1 if piece else 0 for fragment in fragments for piece in fragment]
)


class RecordingEngine(ScriptedEngine):
    """A scripted engine that remembers what it wrote."""

    def __init__(self, *args: object, **options: object) -> None:
        super().__init__(*args, **options)  # type: ignore[arg-type]
        self.written: list[Generation] = []
        self.answered: list[GenerationRequest] = []

    async def generate(self, request: GenerationRequest, on_tokens: OnTokens | None = None) -> Generation:
        generation = await super().generate(request, on_tokens)
        self.written.append(generation)
        self.answered.append(request)
        return generation


def setup(
    *, by_text: bool = False, context_tokens: int = 10_000, want_logprobs: bool = False, **limits: float | None
) -> RelaySetup:
    return RelaySetup(
        grammar=CommandGrammar(TOKENIZER),
        handoff=TextHandoff(TOKENIZER, TEACHER_TOKENIZER) if by_text else IdHandoff(),
        limits=RelayLimits.model_validate({"max_new_tokens": 1000, **limits}),
        student_sampling=SamplingSettings(),
        teacher_sampling=SamplingSettings(),
        student_context_tokens=context_tokens,
        teacher_context_tokens=context_tokens,
        want_logprobs=want_logprobs,
    )


def at_position(stream: list[int], prompt_tokens: int = len(PROMPT.student_ids)):  # type: ignore[no-untyped-def]
    """A script that writes at output position t what the stream holds from t on."""
    return lambda request: stream[len(request.prompt_ids) - prompt_tokens :]


def run(seq: RelaySequence, student: ScriptedEngine, teacher: ScriptedEngine | None) -> Trajectory:
    return asyncio.run(relay(seq, student, teacher))


def student_segments(trajectory: Trajectory) -> list[str]:
    """The student's text between calls."""
    starts = [0, *(call.position + call.written for call in trajectory.calls)]
    ends = [*(call.position for call in trajectory.calls), len(trajectory.token_ids)]
    return [TOKENIZER.decode(trajectory.token_ids[a:b].tolist()) for a, b in zip(starts, ends, strict=True)]


def teacher_texts(trajectory: Trajectory) -> list[str]:
    return [
        TOKENIZER.decode(trajectory.token_ids[call.position : call.position + call.written].tolist())
        for call in trajectory.calls
    ]


def half_of_the_prompt(request: GenerationRequest) -> int:
    return len(request.prompt_ids) // 2


def not_taken_back(student: RecordingEngine) -> list[int]:
    """The student's tokens: a turn takes back what stood at its place and after."""
    kept: dict[int, int] = {}
    for request, generation in zip(student.answered, student.written, strict=True):
        place = len(request.prompt_ids)
        kept = {position: token for position, token in kept.items() if position < place}
        kept |= dict(enumerate(generation.token_ids.tolist(), start=place))
    return [kept[position] for position in sorted(kept)]


def assert_nothing_lost(
    trajectory: Trajectory, student: RecordingEngine, teacher: RecordingEngine, budget: int
) -> None:
    """All that was written and not taken back is there once, with its writer, within the budget; calls say what they cost."""
    is_teacher = trajectory.sources == Source.TEACHER
    by_student = not_taken_back(student)
    by_teacher = [token for generation in teacher.written for token in generation.token_ids.tolist()]
    assert trajectory.token_ids[~is_teacher].tolist() == by_student
    assert trajectory.token_ids[is_teacher].tolist() == by_teacher
    assert [call.written for call in trajectory.calls if call.written] == [len(g.token_ids) for g in teacher.written]
    for call in trajectory.calls:
        assert is_teacher[call.position : call.position + call.written].all()

    assert trajectory.logprobs[~is_teacher] == pytest.approx([-(token + 1) / 1000 for token in by_student])
    assert not trajectory.logprobs[is_teacher].any()
    assert (trajectory.versions == np.where(is_teacher, -1, 3)).all()

    assert 0 < len(trajectory.token_ids) <= budget
    assert (len(trajectory.token_ids) == budget) or trajectory.finish is not FinishReason.LENGTH
    assert all(call.written <= call.requested for call in trajectory.calls)
    answered = [call for call in trajectory.calls if call.written]
    costs = [(len(request.prompt_ids), half_of_the_prompt(request)) for request in teacher.answered]
    assert [(call.prompt_tokens, call.cached_tokens) for call in answered] == costs
    assert all(call.prompt_tokens == 0 for call in trajectory.calls if not call.written)


@settings(max_examples=1500, deadline=None)
@given(
    stream=streams,
    answers=st.lists(st.one_of(streams, st.just(EngineError("down"))), min_size=4, max_size=4),
    max_new_tokens=st.integers(1, 120),
    context_tokens=st.integers(10, 120),
    max_calls=st.integers(0, 4),
    call_tokens=st.one_of(st.none(), st.integers(1, 15)),
)
def test_any_script_keeps_every_token_source_and_budget(
    stream: list[int],
    answers: list[list[int] | Exception],
    max_new_tokens: int,
    context_tokens: int,
    max_calls: int,
    call_tokens: int | None,
) -> None:
    student = RecordingEngine(TOKENIZER, at_position(stream), version=3)
    teacher = RecordingEngine(TOKENIZER, answers, cached=half_of_the_prompt)
    limits = {"max_new_tokens": max_new_tokens, "max_calls": max_calls, "call_tokens": call_tokens}
    seq = RelaySequence(PROMPT, setup(context_tokens=context_tokens, want_logprobs=True, **limits))

    trajectory = run(seq, student, teacher)

    budget = min(max_new_tokens, context_tokens - len(PROMPT.student_ids))
    assert_nothing_lost(trajectory, student, teacher, budget)
    for request in (*student.requests, *teacher.requests):
        assert len(request.prompt_ids) + request.max_tokens <= context_tokens

    segments = student_segments(trajectory)
    commands = [command for segment in segments for command in parse_commands(segment)]
    assert len(trajectory.calls) + trajectory.rejected.total - trajectory.rejected.over_limit == len(commands)
    assert len(trajectory.calls) <= max_calls
    assert len(trajectory.calls) < max_calls or "<call" not in segments[-1]
    for call, segment in zip(trajectory.calls, segments[:-1], strict=True):
        valid = [command for command in parse_commands(segment) if command.kind is CommandKind.VALID]
        assert call.commanded == valid[0].requested_tokens
        assert call.requested == (call_tokens or call.commanded)


@settings(max_examples=700, deadline=None)
@given(
    stream=streams,
    answers=st.lists(st.one_of(streams, st.none()), min_size=4, max_size=4),
    by_text=st.booleans(),
)
def test_any_teacher_context_is_the_text_without_commands(
    stream: list[int], answers: list[list[int] | None], by_text: bool
) -> None:
    tokenizer = TEACHER_TOKENIZER if by_text else TOKENIZER
    teacher = ScriptedEngine(
        tokenizer,
        [EngineError("down") if answer is None else [token % len(tokenizer) for token in answer] for answer in answers],
    )
    trajectory = run(
        RelaySequence(PROMPT, setup(by_text=by_text, max_calls=4)),
        ScriptedEngine(TOKENIZER, at_position(stream)),
        teacher,
    )
    segments, replies = student_segments(trajectory), teacher_texts(trajectory)
    seen = ""
    for request, segment, reply in zip(teacher.requests, segments[:-1], replies, strict=True):
        seen += without_commands(segment)
        assert list(request.prompt_ids[:2]) == [950, 951]
        assert tokenizer.decode(request.prompt_ids[2:]) == seen
        seen += reply


@settings(max_examples=300, deadline=None)
@given(stream=streams, answers=st.lists(streams, min_size=4, max_size=4))
def test_each_teacher_context_extends_the_one_before(stream: list[int], answers: list[list[int]]) -> None:
    teacher = ScriptedEngine(TOKENIZER, answers)
    run(RelaySequence(PROMPT, setup(max_calls=4)), ScriptedEngine(TOKENIZER, at_position(stream)), teacher)
    for before, after in pairwise(teacher.requests):
        assert list(after.prompt_ids[: len(before.prompt_ids)]) == list(before.prompt_ids)


@settings(max_examples=700, deadline=None)
@given(
    stream=streams,
    answers=st.lists(streams, min_size=4, max_size=4),
    max_calls=st.integers(0, 4),
    max_new_tokens=st.integers(1, 100),
)
def test_an_engine_that_overruns_its_stops_gives_the_same_trajectory(
    stream: list[int], answers: list[list[int]], max_calls: int, max_new_tokens: int
) -> None:
    exact, overrun = (
        run(
            RelaySequence(PROMPT, setup(max_calls=max_calls, max_new_tokens=max_new_tokens)),
            ScriptedEngine(TOKENIZER, at_position(stream), exact_stops=exact_stops),
            ScriptedEngine(TOKENIZER, answers),
        )
        for exact_stops in (True, False)
    )
    assert exact.token_ids.tolist() == overrun.token_ids.tolist()
    assert exact.sources.tolist() == overrun.sources.tolist()
    assert exact.rejected == overrun.rejected
    assert exact.finish == overrun.finish
    assert [(c.position, c.requested, c.written, c.ending) for c in exact.calls] == [
        (c.position, c.requested, c.written, c.ending) for c in overrun.calls
    ]


def text(string: str) -> list[int]:
    return TOKENIZER.encode(string)


@pytest.mark.parametrize("seed", range(5))
def test_sequences_do_not_mix_whatever_order_engines_answer_in(seed: int) -> None:
    rng = random.Random(seed)

    async def shuffle(_: GenerationRequest) -> None:
        for _ in range(rng.randrange(20)):
            await asyncio.sleep(0)

    def student_script(request: GenerationRequest) -> list[int]:
        return text("b") if len(request.prompt_ids) > 1 else text(f"a{request.prompt_ids[0]}<call>2</call>")

    def teacher_script(request: GenerationRequest) -> list[int]:
        return text(str(request.prompt_ids[0]) + "xx")

    numbers = [a * 100 + b * 10 + c for a in (1, 2, 3) for b in range(4) for c in range(4)]
    prompts = [RelayPrompt((number,), (number,)) for number in numbers]
    student = ScriptedEngine(TOKENIZER, student_script, before=shuffle)
    teacher = ScriptedEngine(TOKENIZER, teacher_script, before=shuffle)

    trajectories = asyncio.run(relay_all(prompts, setup(), student, teacher))

    for number, trajectory in zip(numbers, trajectories, strict=True):
        reply = TOKENIZER.decode(text(f"{number}xx")[:2])
        assert trajectory.prompt_ids.tolist() == [number]
        assert trajectory.text == f"a{number}<call>2</call>{reply}b"


def test_no_sequence_waits_for_another() -> None:
    async def scenario() -> None:
        release = asyncio.Event()
        done: list[int] = []

        async def hold_the_first(request: GenerationRequest) -> None:
            if request.prompt_ids[0] == 1:
                await release.wait()

        teacher = ScriptedEngine(TOKENIZER, lambda _: text("x"), before=hold_the_first)
        student = ScriptedEngine(TOKENIZER, lambda r: text("b") if len(r.prompt_ids) > 1 else text("<call>1</call>"))

        async def one(number: int) -> None:
            await relay(RelaySequence(RelayPrompt((number,), (number,)), setup()), student, teacher)
            done.append(number)

        async with asyncio.TaskGroup() as group:
            group.create_task(one(1))
            await group.create_task(one(2))
            await group.create_task(one(3))
            release.set()
        assert done == [2, 3, 1]

    asyncio.run(scenario())


def test_a_teacher_error_lets_the_student_go_on_alone() -> None:
    student = ScriptedEngine(TOKENIZER, [text("a<call>3</call>"), text("b")])
    seq = RelaySequence(PROMPT, setup())
    trajectory = run(seq, student, ScriptedEngine(TOKENIZER, [EngineError("no route to teacher")]))
    assert trajectory.text == "a<call>3</call>b"
    assert trajectory.calls[0].ending is CallEnding.FAILED
    assert seq.failures == ["no route to teacher"]


def test_a_teacher_that_breaks_its_contract_is_a_failed_call() -> None:
    class Babbler(ScriptedEngine):
        async def generate(self, request: GenerationRequest, on_tokens: OnTokens | None = None) -> Generation:
            generation = await super().generate(request, on_tokens)
            columns = {name: getattr(generation, name).repeat(2) for name in ("token_ids", "logprobs", "versions")}
            return replace(generation, **columns)

    student = ScriptedEngine(TOKENIZER, [text("<call>2</call>"), text("b")])
    seq = RelaySequence(PROMPT, setup())
    assert run(seq, student, Babbler(TOKENIZER, [text("xxxx")])).calls[0].ending is CallEnding.FAILED
    assert seq.failures == ["the teacher's engine wrote 4 tokens where 1 to 2 were asked for"]


def test_a_teacher_past_its_deadline_is_cancelled_and_recorded() -> None:
    async def scenario() -> None:
        teacher = ScriptedEngine(TOKENIZER, [text("x")], before=lambda _: asyncio.Event().wait())
        student = ScriptedEngine(TOKENIZER, [text("<call>3</call>"), text("b")])
        seq = RelaySequence(PROMPT, setup(teacher_timeout_s=0.01))
        trajectory = await relay(seq, student, teacher)
        assert trajectory.calls[0].ending is CallEnding.FAILED
        assert trajectory.calls[0].duration_s >= 0.01
        assert seq.failures == ["the teacher missed its deadline of 0.01 s"]
        assert teacher.in_flight == 0
        assert trajectory.text == "<call>3</call>b"

    asyncio.run(scenario())


def test_a_student_error_is_raised() -> None:
    student = ScriptedEngine(TOKENIZER, [EngineError("out of memory")])
    with pytest.raises(EngineError, match="out of memory"):
        run(RelaySequence(PROMPT, setup()), student, ScriptedEngine(TOKENIZER, []))


def test_one_student_error_cancels_all_sequences_and_is_raised() -> None:
    async def scenario() -> None:
        async def hold_all_but_the_first(request: GenerationRequest) -> None:
            if request.prompt_ids[0] != 1:
                await asyncio.Event().wait()

        student = ScriptedEngine(TOKENIZER, lambda _: EngineError("dead"), before=hold_all_but_the_first)
        prompts = [RelayPrompt((number,), (number,)) for number in (1, 2, 3)]
        with pytest.raises(EngineError, match="dead"):
            await relay_all(prompts, setup(), student, ScriptedEngine(TOKENIZER, []))
        assert student.in_flight == 0

    asyncio.run(scenario())


@pytest.mark.parametrize("held", ["student", "teacher"])
def test_cancelling_cancels_the_engine_call_under_way(held: str) -> None:
    async def scenario() -> None:
        reached = asyncio.Event()

        async def hold(_: GenerationRequest) -> None:
            reached.set()
            await asyncio.Event().wait()

        engines = {
            "student": ScriptedEngine(TOKENIZER, [text("<call>3</call>")], before=hold if held == "student" else None),
            "teacher": ScriptedEngine(TOKENIZER, [text("x")], before=hold if held == "teacher" else None),
        }
        task = asyncio.create_task(relay(RelaySequence(PROMPT, setup()), engines["student"], engines["teacher"]))
        await reached.wait()
        assert engines[held].in_flight == 1
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert engines[held].in_flight == 0

    asyncio.run(scenario())


def test_without_calls_no_teacher_is_needed() -> None:
    trajectory = run(RelaySequence(PROMPT, setup(max_calls=0)), ScriptedEngine(TOKENIZER, [text("ab")]), None)
    assert trajectory.text == "ab"


def test_calls_without_a_teacher_are_refused() -> None:
    with pytest.raises(ValueError, match="max_calls"):
        run(RelaySequence(PROMPT, setup()), ScriptedEngine(TOKENIZER, []), None)


plans = st.lists(st.builds(PlannedCall, st.integers(0, 40), st.integers(1, 15)), max_size=4).map(
    lambda calls: tuple(sorted(calls))
)


@settings(max_examples=1000, deadline=None)
@given(
    stream=streams,
    answers=st.lists(st.one_of(streams, st.just(EngineError("down"))), min_size=4, max_size=4),
    plan=plans,
    max_new_tokens=st.integers(1, 120),
    context_tokens=st.integers(10, 120),
)
def test_any_plan_is_followed_to_the_answers_end(
    stream: list[int],
    answers: list[list[int] | Exception],
    plan: tuple[PlannedCall, ...],
    max_new_tokens: int,
    context_tokens: int,
) -> None:
    student = RecordingEngine(TOKENIZER, at_position(stream), version=3)
    teacher = RecordingEngine(TOKENIZER, answers, cached=half_of_the_prompt)
    chosen = setup(context_tokens=context_tokens, want_logprobs=True, max_new_tokens=max_new_tokens, max_calls=1)

    trajectory = run(RelaySequence(PROMPT, chosen, plan), student, teacher)

    budget = min(max_new_tokens, context_tokens - len(PROMPT.student_ids))
    assert_nothing_lost(trajectory, student, teacher, budget)
    assert all(request.stop_text == "<call" for request in student.requests)
    assert not any("<call" in segment for segment in student_segments(trajectory))

    by_student = np.cumsum(trajectory.sources == Source.STUDENT)
    executed = [
        PlannedCall(int(by_student[call.position - 1]) if call.position else 0, call.requested)
        for call in trajectory.calls
    ]
    assert executed == list(plan[: len(executed)])
    assert all(call.commanded == 0 for call in trajectory.calls)
    if len(executed) < len(plan) and trajectory.finish is FinishReason.STUDENT_END:
        assert by_student[-1] <= plan[len(executed)].position

    commands = [command for segment in student_segments(trajectory) for command in parse_commands(segment)]
    assert trajectory.rejected.total - trajectory.rejected.over_limit == len(commands)


@settings(max_examples=200, deadline=None)
@given(stream=streams, max_new_tokens=st.integers(1, 60))
def test_an_empty_plan_is_the_student_alone(stream: list[int], max_new_tokens: int) -> None:
    planned, alone = (
        run(
            RelaySequence(PROMPT, setup(max_new_tokens=max_new_tokens, max_calls=max_calls), plan),
            ScriptedEngine(TOKENIZER, at_position(stream)),
            None,
        )
        for max_calls, plan in ((3, ()), (0, None))
    )
    assert planned.token_ids.tolist() == alone.token_ids.tolist()
    assert planned.constrained.tolist() == alone.constrained.tolist()
    assert (planned.finish, planned.rejected, planned.calls) == (alone.finish, alone.rejected, ())


CALLERS = [
    PieceTokenizer(["<call>", "<", "call", ">", "a"]),
    PieceTokenizer(["<", "call", ">", "a<", "c", "all", "<c", "<call>5", "b"]),
    PieceTokenizer(["a", "<", "<c", "<ca", "call", "all>", "<<", "</call><", "ll", *"</call>"]),
]


class CountingEngine(ScriptedEngine):
    """Counts the tokens that it has written."""

    written = 0

    async def generate(self, request: GenerationRequest, on_tokens: OnTokens | None = None) -> Generation:
        generation = await super().generate(request, on_tokens)
        self.written += len(generation.token_ids)
        return generation


class Caller:
    """A student whose favourite next token depends on all before it, and is often part of a command."""

    def __init__(self, tokenizer: PieceTokenizer, seed: int) -> None:
        self.tokenizer = tokenizer
        self._seed = seed

    def next_token(self, output: Sequence[int], excluded: Collection[int]) -> int:
        order = list(range(1, len(self.tokenizer)))
        random.Random(f"{self._seed}{output}").shuffle(order)
        if "<" in self.tokenizer.decode(output[-1:]):
            order.sort(key=lambda token: not self.tokenizer.decode([token]).startswith("ca"))
        order.insert(len(order) if len(output) < 8 else len(output) % 3, self.tokenizer.eos_token_id)
        return next(token for token in order if token not in excluded)

    def script(self, request: GenerationRequest) -> list[int]:
        output = list(request.prompt_ids[len(PROMPT.student_ids) :])
        for _ in range(request.max_tokens):
            output.append(self.next_token(output, request.excluded))
        return output[len(request.prompt_ids) - len(PROMPT.student_ids) :]

    def answer(self, max_new_tokens: int) -> tuple[list[int], list[bool]]:
        """What it writes without commands, token by token, and which tokens it drew again."""
        grammar = CommandGrammar(self.tokenizer)
        output: list[int] = []
        beginnings, redrawn = set[int](), set[tuple[int, ...]]()
        while len(output) < max_new_tokens and self.tokenizer.eos_token_id not in output:
            output.append(self.next_token(output, {*grammar.banned, *(beginnings if tuple(output) in redrawn else ())}))
            begun = self.tokenizer.decode(output).find("<call")
            if begun >= 0:
                place = token_holding(grammar.pieces(output), begun + 1)
                beginnings.add(output[place])
                output = output[:place]
                redrawn.add(tuple(output))
        return output, [tuple(output[:i]) in redrawn for i in range(len(output))]


@settings(max_examples=600, deadline=None)
@given(
    tokenizer=st.sampled_from(CALLERS),
    seed=st.integers(0, 10_000),
    budget=st.integers(1, 40),
    exact_stops=st.booleans(),
)
def test_forbidden_commands_are_drawn_again_as_token_by_token(
    tokenizer: PieceTokenizer, seed: int, budget: int, exact_stops: bool
) -> None:
    caller = Caller(tokenizer, seed)
    student = CountingEngine(tokenizer, caller.script, exact_stops=exact_stops)
    alone = replace(setup(max_calls=0, max_new_tokens=budget), grammar=CommandGrammar(tokenizer))
    trajectory = run(RelaySequence(PROMPT, alone), student, None)
    ids, constrained = caller.answer(budget)
    assert trajectory.token_ids.tolist() == ids
    assert trajectory.constrained.tolist() == constrained
    assert "<call" not in trajectory.text
    assert (trajectory.finish is FinishReason.STUDENT_END) == (ids[-1] == tokenizer.eos_token_id)
    assert len(student.requests) <= 1 + 3 * trajectory.rejected.over_limit
    if exact_stops:  # nothing is written but what is kept, and the tokens of `<call` each time that it is begun
        assert student.written <= len(ids) + len("<call") * trajectory.rejected.over_limit


def test_a_student_with_many_spellings_of_a_command_is_not_asked_for_all_their_combinations() -> None:
    tokenizer = PieceTokenizer(["<", "a<", "b<", "c<", "call", ">"])
    *begin, call = (tokenizer.encode(piece)[0] for piece in ("<", "a<", "b<", "c<", "call"))
    depth = 10

    def script(request: GenerationRequest) -> list[int]:
        start = len(request.prompt_ids) - len(PROMPT.student_ids)
        favourite = next((token for token in begin if token not in request.excluded), call)
        return [favourite] * max(0, min(depth - start, request.max_tokens)) + [call] * (
            start + request.max_tokens > depth
        )

    student = ScriptedEngine(tokenizer, script)
    alone = replace(setup(max_calls=0, max_new_tokens=2 * depth), grammar=CommandGrammar(tokenizer))
    trajectory = run(RelaySequence(PROMPT, alone), student, None)
    assert "<call" not in trajectory.text
    assert len(student.requests) <= len(begin) + 2 * depth**2


def test_forbidding_commands_costs_nothing_where_none_is_begun() -> None:
    student = ScriptedEngine(TOKENIZER, [text("a<b</call>")])
    assert run(RelaySequence(PROMPT, setup(max_calls=0)), student, None).text == "a<b</call>"
    assert len(student.requests) == 1


def test_commands_and_the_teachers_tokens_are_not_the_students_own() -> None:
    student = ScriptedEngine(TOKENIZER, [text("ab<call>2</call>"), text("<call>0</call>"), text("b")])
    answer = run(RelaySequence(PROMPT, setup()), student, ScriptedEngine(TOKENIZER, [text("xxxx")]))
    assert answer.text == "ab<call>2</call>xx<call>0</call>b"
    assert own_tokens(answer, CommandGrammar(TOKENIZER)) == len("abb") + 1  # and the end of text


def test_each_prompt_has_a_plan_of_its_own() -> None:
    prompts = [RelayPrompt((number,), (number,)) for number in (1, 2, 3)]
    student = ScriptedEngine(TOKENIZER, lambda request: text("abab")[len(request.prompt_ids) - 1 :])
    teacher = ScriptedEngine(TOKENIZER, lambda request: text("xxxx"))
    answers = asyncio.run(
        relay_all(
            prompts, setup(), student, teacher, [(PlannedCall(1, 2),), (), (PlannedCall(0, 1), PlannedCall(1, 1))]
        )
    )
    assert [answer.text for answer in answers] == ["axxb", "abab", "xbxb"]


def test_plans_that_do_not_fit_the_prompts_are_refused() -> None:
    with pytest.raises(ValueError, match="zip"):
        asyncio.run(relay_all([PROMPT], setup(), ScriptedEngine(TOKENIZER, []), None, [(), ()]))


def test_planned_calls_without_a_teacher_are_refused() -> None:
    with pytest.raises(ValueError, match="no teacher"):
        run(RelaySequence(PROMPT, setup(), (PlannedCall(0, 1),)), ScriptedEngine(TOKENIZER, []), None)
