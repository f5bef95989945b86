"""One relayed sequence: limits, counts, budgets and what each side gets to see."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from actors.engines.base import EngineError, Generation, StopReason
from actors.relay.grammar import CommandGrammar
from actors.relay.handoff import Handoff, IdHandoff, RelayPrompt, TextHandoff
from actors.relay.planned_calls import Plan, PlannedCall
from actors.relay.sequence import RelaySequence, RelaySetup
from actors.relay.turns import Finished, StudentTurn, TeacherTurn
from actors.settings import RelayLimits, SamplingSettings
from actors.trajectory import CallEnding, FinishReason, Source
from tests.scripted import PieceTokenizer

PIECES = ["<call>", "</call>", "</", "call", ">\n", *"<>/cal0123456789bxyz \n", "call>", "xy", "<call", "<<"]
TOKENIZER = PieceTokenizer(PIECES)
EOS = 0
PROMPT = RelayPrompt(student_ids=(90, 91), teacher_ids=(95,))


def ids(*pieces: str) -> list[int]:
    return [PIECES.index(piece) + 1 for piece in pieces]


def command(n: object) -> list[int]:
    return [*ids("<call>"), *ids(*str(n)), *ids("</call>")]


def sequence(
    *,
    max_new_tokens: int = 100,
    max_calls: int = 2,
    call_tokens: int | None = None,
    plan: Plan | None = None,
    handoff: Handoff | None = None,
    tokenizer: PieceTokenizer = TOKENIZER,
    student_context_tokens: int = 1000,
    teacher_context_tokens: int = 1000,
) -> RelaySequence:
    setup = RelaySetup(
        grammar=CommandGrammar(tokenizer),
        handoff=handoff or IdHandoff(),
        limits=RelayLimits(max_new_tokens=max_new_tokens, max_calls=max_calls, call_tokens=call_tokens),
        student_sampling=SamplingSettings(temperature=1.0),
        teacher_sampling=SamplingSettings(temperature=0.0),
        student_context_tokens=student_context_tokens,
        teacher_context_tokens=teacher_context_tokens,
        want_logprobs=True,
    )
    return RelaySequence(PROMPT, setup, plan)


def generation(
    token_ids: Sequence[int], stop: StopReason, version: int = 4, prompt_tokens: int = 0, cached_tokens: int = 0
) -> Generation:
    array = np.asarray(token_ids, np.int32)
    versions = np.full(len(array), version, np.int32)
    return Generation(array, -array.astype(np.float32), versions, stop, prompt_tokens, cached_tokens)


def student(seq: RelaySequence, token_ids: Sequence[int], stop: StopReason = StopReason.STOP_TEXT) -> None:
    seq.student_wrote(generation(token_ids, stop))


def teacher(seq: RelaySequence, token_ids: Sequence[int], stop: StopReason = StopReason.LENGTH) -> None:
    seq.teacher_wrote(generation(token_ids, stop), duration_s=0.5)


def end(seq: RelaySequence, token_ids: Sequence[int] = ()) -> Any:
    student(seq, [*token_ids, EOS], StopReason.END_OF_TEXT)
    return seq.trajectory()


def teacher_turn(seq: RelaySequence) -> TeacherTurn:
    turn = seq.next_turn()
    assert isinstance(turn, TeacherTurn)
    return turn


def student_turn(seq: RelaySequence) -> StudentTurn:
    turn = seq.next_turn()
    assert isinstance(turn, StudentTurn)
    return turn


def test_student_opens_with_its_own_prompt_and_sampling() -> None:
    request = student_turn(sequence(max_new_tokens=30)).request
    assert list(request.prompt_ids) == [90, 91]
    assert request.max_tokens == 30
    assert request.want_logprobs
    assert (request.stop_text, request.excluded) == ("</call>", ())
    assert request.sampling.temperature == 1.0


def test_a_call_interleaves_student_and_teacher() -> None:
    seq = sequence()
    student(seq, [*ids("x"), *command(2)])
    teacher(seq, ids("y", "z"))
    trajectory = end(seq, ids("b"))
    assert trajectory.text == "x<call>2</call>yzb"
    assert trajectory.sources.tolist() == [Source.STUDENT] * 4 + [Source.TEACHER] * 2 + [Source.STUDENT] * 2
    assert trajectory.versions.tolist() == [4] * 4 + [-1] * 2 + [4] * 2
    assert trajectory.logprobs[4:6].tolist() == [0.0, 0.0]
    assert trajectory.logprobs[0] == -ids("x")[0]
    (call,) = trajectory.calls
    assert (call.position, call.requested, call.written, call.duration_s) == (4, 2, 2, 0.5)
    assert call.ending is CallEnding.COMPLETED
    assert trajectory.finish is FinishReason.STUDENT_END
    assert trajectory.rejected.total == 0


def test_the_teacher_sees_its_prompt_and_all_text_without_commands() -> None:
    seq = sequence()
    student(seq, [*ids("x"), *command(1)])
    teacher(seq, ids("y"))
    student(seq, [*ids("z"), *command(3)])
    request = teacher_turn(seq).request
    assert list(request.prompt_ids) == [95, *ids("x", "y", "z")]
    assert request.max_tokens == 3
    assert request.sampling.greedy
    assert request.stop_text is None and not request.want_logprobs


def test_the_student_keeps_its_commands_in_context() -> None:
    seq = sequence()
    student(seq, command(1))
    teacher(seq, ids("y"))
    assert list(student_turn(seq).request.prompt_ids) == [90, 91, *command(1), *ids("y")]


def test_a_command_may_straddle_any_tokens() -> None:
    seq = sequence()
    student(seq, ids("x", "<", "call>", "1", "2", "</", "call", ">\n"))
    turn = teacher_turn(seq)
    assert turn.requested == 12
    assert list(turn.request.prompt_ids) == [95, *ids("x", "\n")]


@pytest.mark.parametrize(
    ("written", "reason"),
    [
        (command(0), "zero"),
        (ids("<call>", "x", "</call>"), "malformed"),
        (ids("x", "</call>"), "malformed"),
    ],
)
def test_rejected_commands_are_counted_and_the_student_goes_on(written: list[int], reason: str) -> None:
    seq = sequence()
    student(seq, written)
    assert list(student_turn(seq).request.prompt_ids) == [90, 91, *written]
    trajectory = end(seq)
    assert getattr(trajectory.rejected, reason) == trajectory.rejected.total == 1
    assert trajectory.calls == ()


def test_rejected_commands_are_hidden_from_the_teacher() -> None:
    seq = sequence()
    student(seq, [*ids("x"), *command(0)])
    student(seq, [*ids("y"), *command(5)])
    assert list(teacher_turn(seq).request.prompt_ids) == [95, *ids("x", "y")]


def test_an_opening_tag_before_a_rejected_command_is_counted_once() -> None:
    seq = sequence()
    student(seq, [*ids("<call>", "x"), *command(0)])
    student(seq, command(0))
    trajectory = end(seq)
    assert (trajectory.rejected.unterminated, trajectory.rejected.zero) == (1, 2)


def test_an_opening_tag_that_never_closes_is_unterminated() -> None:
    trajectory = end(sequence(), ids("<call>", "5"))
    assert trajectory.rejected.unterminated == trajectory.rejected.total == 1


def test_a_command_cut_by_an_engine_that_stopped_early_is_completed_by_the_next_turn() -> None:
    seq = sequence()
    student(seq, ids("<call>", "5"), StopReason.STOP_TEXT)
    student(seq, ids("</", "call>"))
    assert teacher_turn(seq).requested == 5


def test_past_the_call_limit_commands_are_forbidden() -> None:
    seq = sequence(max_calls=1)
    student(seq, command(1))
    teacher(seq, ids("y"))
    request = student_turn(seq).request
    assert (request.stop_text, request.excluded) == ("<call", tuple(ids("<call>")))
    assert request.max_tokens == 100 - len(command(1)) - 1


def test_a_command_past_the_limit_is_taken_back_and_one_token_is_drawn_in_its_place() -> None:
    seq = sequence(max_calls=0)
    student(seq, ids("x", "<", "call>"))
    request = student_turn(seq).request
    assert list(request.prompt_ids) == [90, 91, *ids("x")]
    assert (request.max_tokens, request.stop_text) == (1, "<call")
    assert request.excluded == tuple(ids("<call>", "<"))
    student(seq, ids("y"), StopReason.LENGTH)
    request = student_turn(seq).request
    assert list(request.prompt_ids) == [90, 91, *ids("x", "y")]
    assert (request.max_tokens, request.excluded) == (98, tuple(ids("<call>")))
    trajectory = end(seq, ids("<", "z"))
    assert trajectory.text == "xy<z"
    assert trajectory.constrained.tolist() == [False, True, False, False, False]
    assert trajectory.logprobs.tolist() == [-token for token in trajectory.token_ids.tolist()]
    assert trajectory.rejected.over_limit == trajectory.rejected.total == 1
    assert trajectory.calls == ()


def test_what_an_engine_wrote_past_a_forbidden_command_is_dropped() -> None:
    seq = sequence(max_calls=0)
    student(seq, [*ids("x", "<", "call>", "3", "</call>"), EOS], StopReason.END_OF_TEXT)
    assert list(student_turn(seq).request.prompt_ids) == [90, 91, *ids("x")]
    assert end(seq).rejected.malformed == 0


def test_a_forbidden_command_may_begin_in_one_turn_and_go_on_in_the_next() -> None:
    seq = sequence(max_calls=0)
    student(seq, ids("x", "<", "c"))
    for piece in "all":  # one by one: the engine, which sees one turn, would not stop after `all`
        student(seq, ids(piece), StopReason.LENGTH)
    request = student_turn(seq).request
    assert list(request.prompt_ids) == [90, 91, *ids("x")]
    assert (request.max_tokens, request.excluded) == (1, tuple(ids("<call>", "<")))


def test_every_spelling_drawn_at_one_place_is_excluded_there() -> None:
    seq = sequence(max_calls=0)
    student(seq, ids("x", "<", "call>"))
    student(seq, ids("<call"), StopReason.LENGTH)
    assert student_turn(seq).request.excluded == tuple(ids("<call>", "<", "<call"))


def test_a_token_that_completes_an_earlier_beginning_is_taken_back_with_it() -> None:
    seq = sequence(max_calls=0)
    student(seq, ids("<", "<", "call>"))
    assert student_turn(seq).request.excluded == tuple(ids("<call>", "<"))
    student(seq, ids("call>"), StopReason.LENGTH)
    request = student_turn(seq).request
    assert (list(request.prompt_ids), request.excluded) == ([90, 91], tuple(ids("<call>", "<")))
    student(seq, ids("x"), StopReason.LENGTH)
    request = student_turn(seq).request
    assert (request.max_tokens, request.excluded) == (99, tuple(ids("<call>")))


def test_a_spelling_that_began_a_command_elsewhere_is_excluded_too() -> None:
    seq = sequence(max_calls=0)
    student(seq, ids("x", "<<", "call>"))
    student(seq, ids("y"), StopReason.LENGTH)
    student(seq, ids("<", "call>"))
    request = student_turn(seq).request
    assert (list(request.prompt_ids), request.excluded) == ([90, 91, *ids("x", "y")], tuple(ids("<call>", "<<", "<")))


def test_what_is_excluded_at_a_place_stays_so_when_a_later_place_leads_back_to_it() -> None:
    seq = sequence(max_calls=0)
    student(seq, ids("<", "call>"))
    for piece in ("<<", "<", "call>", "call>"):
        student(seq, ids(piece), StopReason.LENGTH)
    request = student_turn(seq).request
    assert (list(request.prompt_ids), request.excluded) == ([90, 91], tuple(ids("<call>", "<", "<<")))


def test_an_end_of_text_drawn_again_ends_the_answer() -> None:
    seq = sequence(max_calls=0)
    student(seq, ids("x", "<", "call>"))
    trajectory = end(seq)
    assert (trajectory.text, trajectory.finish) == ("x", FinishReason.STUDENT_END)
    assert trajectory.constrained.tolist() == [False, True]


def test_the_last_token_of_the_budget_is_drawn_again() -> None:
    seq = sequence(max_calls=0, max_new_tokens=2)
    student(seq, ids("x", "<call"), StopReason.STOP_TEXT)
    student(seq, ids("y"), StopReason.LENGTH)
    assert seq.trajectory().text == "xy"
    assert seq.next_turn() == Finished(FinishReason.LENGTH)


def test_the_teachers_text_begins_no_command() -> None:
    seq = sequence(plan=(PlannedCall(0, 1),))
    teacher(seq, ids("<"))
    assert end(seq, ids("call>")).text == "<call>"


def test_places_of_planned_calls_do_not_count_tokens_taken_back() -> None:
    seq = sequence(plan=(PlannedCall(3, 1),))
    student(seq, ids("x", "<", "call>"), StopReason.STOP_TEXT)
    student(seq, ids("y"), StopReason.LENGTH)
    assert student_turn(seq).request.max_tokens == 1


def test_an_engine_that_writes_an_excluded_id_is_an_error() -> None:
    with pytest.raises(EngineError, match="were excluded"):
        student(sequence(max_calls=0), ids("<call>"))


def test_text_past_an_executable_command_is_discarded() -> None:
    seq = sequence()
    student(seq, [*command(0), *command(2), *ids("x"), *command(3), EOS], StopReason.END_OF_TEXT)
    assert teacher_turn(seq).requested == 2
    teacher(seq, ids("y", "y"))
    trajectory = end(seq)
    assert trajectory.text == "<call>0</call><call>2</call>yy"
    assert trajectory.rejected.zero == trajectory.rejected.total == 1


def test_n_is_capped_by_the_budget_left() -> None:
    seq = sequence(max_new_tokens=6)
    student(seq, command(50))
    assert teacher_turn(seq).request.max_tokens == 2
    teacher(seq, ids("y", "z"))
    trajectory = seq.trajectory()
    assert trajectory.calls[0].ending is CallEnding.BUDGET
    assert (trajectory.calls[0].requested, trajectory.calls[0].written) == (50, 2)
    assert trajectory.finish is FinishReason.LENGTH


def test_n_that_fits_the_budget_exactly_is_completed() -> None:
    seq = sequence(max_new_tokens=5)
    student(seq, command(2))
    teacher(seq, ids("y", "z"))
    assert seq.trajectory().calls[0].ending is CallEnding.COMPLETED
    assert seq.trajectory().finish is FinishReason.LENGTH


def test_a_command_in_the_last_token_of_the_budget_calls_nobody() -> None:
    seq = sequence(max_new_tokens=3)
    student(seq, command(2), StopReason.LENGTH)
    trajectory = seq.trajectory()
    assert (trajectory.calls[0].written, trajectory.calls[0].ending) == (0, CallEnding.BUDGET)
    assert trajectory.finish is FinishReason.LENGTH
    assert not trajectory.called


def test_the_student_at_its_limit_ends_the_sequence() -> None:
    seq = sequence(max_new_tokens=2)
    student(seq, ids("x", "y"), StopReason.LENGTH)
    assert seq.next_turn() == Finished(FinishReason.LENGTH)


def test_a_rejected_command_at_the_limit_ends_the_sequence() -> None:
    seq = sequence(max_new_tokens=3)
    student(seq, command(0), StopReason.STOP_TEXT)
    assert seq.next_turn() == Finished(FinishReason.LENGTH)


def test_teacher_end_of_text_ends_the_sequence_as_the_students_token() -> None:
    seq = sequence()
    student(seq, command(9))
    teacher(seq, [*ids("y"), 77], StopReason.END_OF_TEXT)
    trajectory = seq.trajectory()
    assert trajectory.token_ids.tolist() == [*command(9), *ids("y"), EOS]
    assert trajectory.sources[-1] == Source.TEACHER
    assert (trajectory.calls[0].written, trajectory.calls[0].ending) == (2, CallEnding.END_OF_TEXT)
    assert trajectory.finish is FinishReason.TEACHER_END


def test_a_failed_call_writes_nothing_and_counts_towards_the_limit() -> None:
    seq = sequence(max_calls=1)
    student(seq, command(9))
    seq.teacher_failed("no route", 1.5)
    assert student_turn(seq).request.stop_text == "<call"
    trajectory = end(seq)
    (call,) = trajectory.calls
    assert (call.written, call.ending, call.duration_s) == (0, CallEnding.FAILED, 1.5)
    assert trajectory.text == "<call>9</call>"
    assert not trajectory.trainable
    assert seq.failures == ["no route"]


def test_text_before_a_failed_call_reaches_the_teacher_once() -> None:
    seq = sequence()
    student(seq, [*ids("x"), *command(9)])
    seq.teacher_failed("no route", 1.5)
    student(seq, [*ids("y"), *command(9)])
    assert list(teacher_turn(seq).request.prompt_ids) == [95, *ids("x", "y")]


def test_the_students_context_bounds_the_output() -> None:
    seq = sequence(student_context_tokens=10)
    assert student_turn(seq).request.max_tokens == 8
    student(seq, command(100))
    assert teacher_turn(seq).request.max_tokens == 8 - len(command(100))


def test_a_prompt_that_fills_the_students_context_is_refused() -> None:
    with pytest.raises(ValueError, match="2 tokens, and the student's context of 2"):
        sequence(student_context_tokens=2)


def test_the_teachers_context_bounds_a_call() -> None:
    seq = sequence(teacher_context_tokens=4)
    student(seq, [*ids("x"), *command(9)])
    assert teacher_turn(seq).request.max_tokens == 2
    teacher(seq, ids("y", "z"))
    assert student_turn(seq)
    assert end(seq).calls[0].ending is CallEnding.BUDGET


def test_a_call_that_does_not_fit_the_teachers_context_fails_instead_of_losing_its_beginning() -> None:
    seq = sequence(teacher_context_tokens=2)
    student(seq, [*ids("x"), *command(9)])
    assert student_turn(seq)
    assert seq.failures == ["the teacher's context of 2 tokens cannot hold the 2 tokens so far and one more"]
    assert end(seq).calls[0].ending is CallEnding.FAILED


def test_a_teacher_of_another_vocabulary_is_read_by_text() -> None:
    letters = PieceTokenizer(list("xyz"))
    seq = sequence(handoff=TextHandoff(TOKENIZER, letters))
    student(seq, [*ids("xy"), *command(3)])
    assert list(teacher_turn(seq).request.prompt_ids) == [95, *letters.encode("xy")]
    teacher(seq, letters.encode("xyz"))
    trajectory = end(seq)
    assert trajectory.token_ids.tolist() == [*ids("xy"), *command(3), *ids("xy", "z"), EOS]
    assert (trajectory.calls[0].written, trajectory.calls[0].ending) == (2, CallEnding.COMPLETED)


def test_text_that_grows_on_the_students_side_is_cut_to_the_budget() -> None:
    words = PieceTokenizer(["zzz"])
    seq = sequence(max_new_tokens=5, handoff=TextHandoff(TOKENIZER, words))
    student(seq, command(1))
    teacher(seq, words.encode("zzz"))
    trajectory = seq.trajectory()
    assert trajectory.token_ids.tolist() == [*command(1), *ids("z", "z")]
    assert trajectory.calls[0].ending is CallEnding.BUDGET
    assert trajectory.finish is FinishReason.LENGTH


@pytest.mark.parametrize("count", [0, 4])
def test_an_engine_that_writes_too_little_or_too_much_is_an_error(count: int) -> None:
    with pytest.raises(EngineError, match=f"wrote {count} tokens where 1 to 3"):
        student(sequence(max_new_tokens=3), ids("x") * count)
    seq = sequence(max_new_tokens=6)
    student(seq, command(9))
    with pytest.raises(EngineError, match="the teacher's engine"):
        teacher(seq, ids("x") * count)
    assert teacher_turn(seq)


def test_the_trajectory_exists_only_at_the_end() -> None:
    with pytest.raises(AssertionError, match="not finished"):
        sequence().trajectory()


def test_a_fixed_length_stands_for_whatever_n_was_written() -> None:
    seq = sequence(call_tokens=20)
    student(seq, command(3))
    turn = teacher_turn(seq)
    assert (turn.requested, turn.commanded, turn.request.max_tokens) == (20, 3, 20)
    teacher(seq, ids("y") * 20)
    (call,) = end(seq).calls
    assert (call.requested, call.commanded, call.written, call.ending) == (20, 3, 20, CallEnding.COMPLETED)


def test_a_fixed_length_is_capped_by_the_budget_left() -> None:
    seq = sequence(call_tokens=20, max_new_tokens=5)
    student(seq, command(3))
    assert teacher_turn(seq).request.max_tokens == 2
    teacher(seq, ids("y", "z"))
    (call,) = seq.trajectory().calls
    assert (call.requested, call.written, call.ending) == (20, 2, CallEnding.BUDGET)


@pytest.mark.parametrize(("written", "reason"), [(command(0), "zero"), (ids("<call>", "x", "</call>"), "malformed")])
def test_a_fixed_length_leaves_the_syntax_as_it_is(written: list[int], reason: str) -> None:
    seq = sequence(call_tokens=20)
    student(seq, written)
    trajectory = end(seq)
    assert trajectory.calls == ()
    assert getattr(trajectory.rejected, reason) == 1


def test_a_call_says_what_the_teacher_read_and_what_its_cache_held() -> None:
    seq = sequence()
    student(seq, command(1))
    seq.teacher_wrote(generation(ids("y"), StopReason.LENGTH, prompt_tokens=7, cached_tokens=5), duration_s=0.5)
    student(seq, command(1))
    seq.teacher_failed("no route", 1.5)
    answered, failed = end(seq).calls
    assert (answered.prompt_tokens, answered.cached_tokens) == (7, 5)
    assert (failed.prompt_tokens, failed.cached_tokens) == (0, 0)


def test_a_planned_call_ends_the_students_turn_at_its_place() -> None:
    seq = sequence(plan=(PlannedCall(2, 3),))
    request = student_turn(seq).request
    assert (request.max_tokens, request.stop_text) == (2, "<call")
    student(seq, ids("x", "y"), StopReason.LENGTH)
    turn = teacher_turn(seq)
    assert (turn.requested, turn.commanded, turn.request.max_tokens) == (3, 0, 3)
    assert list(turn.request.prompt_ids) == [95, *ids("x", "y")]
    teacher(seq, ids("z", "z", "z"))
    assert student_turn(seq).request.max_tokens == 95
    trajectory = end(seq)
    assert trajectory.text == "xyzzz"
    assert trajectory.calls[0].position == 2


def test_a_plan_may_begin_with_the_teacher() -> None:
    seq = sequence(plan=(PlannedCall(0, 1),))
    assert list(teacher_turn(seq).request.prompt_ids) == [95]
    teacher(seq, ids("z"))
    assert list(student_turn(seq).request.prompt_ids) == [90, 91, *ids("z")]


def test_places_count_the_students_tokens_whatever_the_teacher_wrote() -> None:
    seq = sequence(plan=(PlannedCall(1, 9), PlannedCall(3, 1)))
    student(seq, ids("x"), StopReason.LENGTH)
    seq.teacher_failed("no route", 1.5)
    assert student_turn(seq).request.max_tokens == 2


def test_planned_calls_at_one_place_follow_each_other() -> None:
    seq = sequence(plan=(PlannedCall(1, 2), PlannedCall(1, 3)))
    student(seq, ids("x"), StopReason.LENGTH)
    teacher(seq, ids("y", "y"))
    assert list(teacher_turn(seq).request.prompt_ids) == [95, *ids("x", "y", "y")]


def test_an_answer_that_ends_leaves_its_planned_calls_unmade() -> None:
    seq = sequence(plan=(PlannedCall(1, 2), PlannedCall(5, 3)))
    student(seq, ids("x"), StopReason.LENGTH)
    teacher(seq, ids("y", "y"))
    trajectory = end(seq, ids("z"))
    assert [call.requested for call in trajectory.calls] == [2]
    assert trajectory.finish is FinishReason.STUDENT_END


def test_a_planned_place_past_the_budget_is_never_reached() -> None:
    seq = sequence(max_new_tokens=3, plan=(PlannedCall(3, 2),))
    assert student_turn(seq).request.max_tokens == 3
    student(seq, ids("x", "x", "x"), StopReason.LENGTH)
    assert seq.trajectory().calls == ()
    assert seq.trajectory().finish is FinishReason.LENGTH


def test_an_engine_that_gives_up_before_the_planned_place_ends_the_sequence() -> None:
    seq = sequence(plan=(PlannedCall(5, 2),))
    student(seq, ids("x"), StopReason.LENGTH)
    assert seq.next_turn() == Finished(FinishReason.LENGTH)


def test_a_planned_call_parts_what_would_have_been_a_command() -> None:
    seq = sequence(plan=(PlannedCall(1, 1),))
    student(seq, ids("<"), StopReason.LENGTH)
    seq.teacher_failed("no route", 1.5)
    trajectory = end(seq, ids("call>"))
    assert trajectory.text == "<call>"
    assert trajectory.rejected.total == 0
