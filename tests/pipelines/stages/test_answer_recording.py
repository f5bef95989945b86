"""Tables of answers: what is recorded of an answer, and that it survives the disk and any order of portions."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from actors.grading import Verdict
from actors.relay.grammar import CommandGrammar
from actors.reward import RewardSettings, graded_groups
from actors.trajectory import Call, CallEnding, FinishReason, RejectedCommands, Source, Trajectory, TrajectoryBatch
from pipelines.data.problem import Problem
from pipelines.records.answers import AnswersError, AnswerTable
from pipelines.stages.answer_recording import answer_table
from tests.scripted import PieceTokenizer

TOKENIZER = PieceTokenizer(["ab", "x", "<call>", "</call>", "2", "\\boxed{", "4", "}", " "])
GRAMMAR = CommandGrammar(TOKENIZER)
STUDENT, TEACHER = Source.STUDENT, Source.TEACHER


def trajectory(*parts: tuple[Source, str], prompt: int = 1, context: int = 0) -> Trajectory:
    """The teacher's parts are calls, unless it wrote everything; `context` is what it read at its first one."""
    encoded = [(source, TOKENIZER.encode(text)) for source, text in parts]
    ids = [token for _, tokens in encoded for token in tokens]
    calls, position = [], 0
    for source, tokens in encoded:
        if source is TEACHER and len(parts) > 1:
            calls.append(Call(position, len(tokens) + 1, len(tokens), 0.0, CallEnding.COMPLETED, 0, context, 1))
        position += len(tokens)
    return Trajectory(
        prompt_ids=np.zeros(prompt, np.int32),
        token_ids=np.array(ids, np.int32),
        sources=np.array([source for source, tokens in encoded for _ in tokens], np.uint8),
        logprobs=np.zeros(len(ids), np.float32),
        versions=np.zeros(len(ids), np.int32),
        constrained=np.zeros(len(ids), np.bool_),
        calls=tuple(calls),
        rejected=RejectedCommands(),
        finish=FinishReason.STUDENT_END,
        text=TOKENIZER.decode(ids),
    )


def table(first: int, samples: int, *rows: Trajectory, right: tuple[bool, ...] = ()) -> AnswerTable:
    batch = TrajectoryBatch.of(rows)
    verdicts = [Verdict(correct, None, False, False) for correct in right or (True,) * len(rows)]
    problems = [Problem(f"q{first + i}", "4", "sums") for i in range(len(rows) // samples)]
    graded = graded_groups(batch, verdicts, samples, RewardSettings(), [problem.gold for problem in problems])
    return answer_table(problems, first, batch, graded, GRAMMAR)


def same(one: AnswerTable, other: AnswerTable) -> bool:
    columns = [field.name for field in fields(AnswerTable)]
    return all(np.array_equal(*(np.asarray(getattr(t, name), object) for t in (one, other))) for name in columns)


CALLED = trajectory((STUDENT, "ab<call>2</call>"), (TEACHER, "xx"), (STUDENT, "ab\\boxed{4}"), prompt=3, context=7)
ALONE = trajectory((STUDENT, "abx\\boxed{4}"))
ANSWERED = trajectory((STUDENT, "<call>2</call>"), (TEACHER, "\\boxed{4}"))
BY_TEACHER = trajectory((TEACHER, "x\\boxed{4}"), prompt=2)


def test_a_relayed_answer_is_recorded_with_its_calls_and_its_own_tokens() -> None:
    found = table(4, 1, CALLED)
    assert (found.problem.tolist(), found.sample.tolist(), found.question.tolist()) == ([4], [0], ["q4"])
    assert (found.output_tokens[0], found.teacher_tokens[0], found.prompt_tokens[0], found.calls[0]) == (10, 2, 3, 1)
    assert found.own_tokens[0] == 5  # ab, ab, \boxed{, 4 and }: what the student wrote, without its command
    assert (found.call_positions, found.call_requested, found.call_written) == (((4,),), ((3,),), ((2,),))
    assert (found.call_prompt_tokens, found.call_cached_tokens) == (((7,),), ((1,),))


def test_who_wrote_the_final_box_is_recorded() -> None:
    found = table(0, 1, CALLED, ALONE, ANSWERED, BY_TEACHER)
    assert found.teacher_answered.tolist() == [False, False, True, True]
    assert found.own_tokens.tolist() == [5, 5, 0, 0]
    assert found.calls.tolist() == [1, 0, 1, 0]


def test_samples_of_a_problem_stand_together_whatever_the_order_of_the_portions() -> None:
    late = table(1, 2, ALONE, CALLED, ANSWERED, ALONE, right=(True, False, False, True))
    early = table(0, 1, BY_TEACHER, right=(False,))
    joined = AnswerTable.joined([late, early])
    assert joined.problem.tolist() == [0, 1, 1, 2, 2]
    assert joined.sample.tolist() == [0, 0, 1, 0, 1]
    assert joined.correct.tolist() == [False, True, False, False, True]
    assert joined.call_written == ((), (), (2,), (3,), ())
    assert joined.problems == 3
    assert same(joined, AnswerTable.joined([early, late]))


def test_a_table_comes_back_from_disk_as_it_was(tmp_path: Path) -> None:
    written = table(0, 1, CALLED, ALONE, ANSWERED, BY_TEACHER)
    path = tmp_path / "answers.parquet"
    path.write_bytes(written.to_bytes())
    read = AnswerTable.read(path)
    assert same(read, written)
    assert read.correct.dtype == np.bool_ and read.kind.dtype.kind == "U"


def test_files_that_are_no_table_are_refused_by_name(tmp_path: Path) -> None:
    text, other = tmp_path / "text.parquet", tmp_path / "other.parquet"
    text.write_text("no parquet")
    pq.write_table(pa.table({"problem": [1]}), other)
    for path, message in ((text, "cannot be read as Parquet"), (other, "not a table of answers")):
        with pytest.raises(AnswersError, match=message) as caught:
            AnswerTable.read(path)
        assert path.name in str(caught.value)
