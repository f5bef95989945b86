"""Traces: answers for people to read, with who wrote which part."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Literal

import numpy as np

from actors.relay.grammar import CommandGrammar, hidden_spans, parse_commands, without_commands
from actors.trajectory import Source, Trajectory
from pipelines.data.problem import Problem
from pipelines.experiment.stage_names import PolicyName
from rewards.answers import answer_span, extract_answer


@dataclass(frozen=True, slots=True)
class Segment:
    """A part of an answer by one writer."""

    source: Literal["student", "command", "teacher"]
    text: str


@dataclass(frozen=True, slots=True)
class ShownPart:
    """A part of an answer by one writer that grading either reads or leaves out."""

    source: Literal["student", "command", "teacher"]
    text: str
    graded: bool


@dataclass(frozen=True, slots=True)
class TracedCall:
    """One executed command."""

    requested: int
    written: int
    ending: str


@dataclass(frozen=True, slots=True)
class Trace:
    """One answer for people to read; a line of traces.jsonl."""

    name: str
    """the name of the evaluation"""
    step: int
    policy: PolicyName
    kind: str
    problem: str
    gold: str
    answer: str | None
    correct: bool
    segments: tuple[Segment, ...]
    calls: tuple[TracedCall, ...]

    @property
    def output(self) -> str:
        return "".join(segment.text for segment in self.segments)

    @property
    def shown_parts(self) -> tuple[ShownPart, ...]:
        """The segments, split where grading begins and ends to leave text out.

        What grading reads of a command that never closes is the student's text.
        """
        left_out = np.zeros(len(self.output), np.bool_)
        for span in hidden_spans(self.output):
            left_out[slice(*span)] = True
        parts, start = [], 0
        for segment in self.segments:
            end = start + len(segment.text)
            for unread, run in itertools.groupby(range(start, end), key=lambda i: bool(left_out[i])):
                text = "".join(segment.text[i - start] for i in run)
                source = "student" if segment.source == "command" and not unread else segment.source
                parts.append(ShownPart(source, text, not unread))
            start = end
        return tuple(parts)


def trace_of(
    trajectory: Trajectory,
    problem: Problem,
    correct: bool,
    grammar: CommandGrammar,
    name: str,
    step: int,
    policy: PolicyName,
) -> Trace:
    """Return the trace of an answer in the evaluation `name`."""
    return Trace(
        name=name,
        step=step,
        policy=policy,
        kind=problem.kind,
        problem=problem.question,
        gold=problem.gold,
        answer=extract_answer(without_commands(trajectory.text)),
        correct=correct,
        segments=segments(trajectory, grammar),
        calls=tuple(TracedCall(call.requested, call.written, call.ending.name.lower()) for call in trajectory.calls),
    )


def segments(trajectory: Trajectory, grammar: CommandGrammar) -> tuple[Segment, ...]:
    """Return the output as parts with one writer each. A command is a separate part.

    `grammar` is for the vocabulary of the trajectory's tokens. It is not used if the teacher wrote the whole answer.
    """
    if len(trajectory.token_ids) and (trajectory.sources == Source.TEACHER).all():
        return (Segment("teacher", trajectory.text),)
    text, writers = _characters(trajectory, grammar)
    for command in parse_commands(text):
        if "teacher" not in writers[command.start : command.end]:
            writers[command.start : command.end] = ["command"] * (command.end - command.start)
    places = itertools.groupby(range(len(text)), key=writers.__getitem__)
    return tuple(Segment(writer, "".join(text[i] for i in part)) for writer, part in places)  # type: ignore[arg-type]


def teacher_answered(trajectory: Trajectory, grammar: CommandGrammar) -> bool:
    r"""Return whether the teacher wrote part of the final answer's `\boxed{...}`, as grading reads the output.

    `grammar` is for the vocabulary of the trajectory's tokens. It is not used if the teacher wrote the whole answer.
    """
    by_teacher = trajectory.sources == Source.TEACHER
    if not by_teacher.any():
        return False
    if by_teacher.all():
        return bool(extract_answer(trajectory.text))
    text, writers = _characters(trajectory, grammar)
    graded = np.ones(len(text), np.bool_)
    for hidden in hidden_spans(text):
        graded[slice(*hidden)] = False
    kept = np.flatnonzero(graded)
    span = answer_span("".join(text[i] for i in kept))
    return span is not None and any(writers[i] == "teacher" and not text[i].isspace() for i in kept[slice(*span)])


def _characters(trajectory: Trajectory, grammar: CommandGrammar) -> tuple[str, list[str]]:
    """Return the output's text, and the writer of each character: student or teacher."""
    pieces = grammar.pieces(trajectory.token_ids.tolist())
    writers = [
        "teacher" if source == Source.TEACHER else "student"
        for source, piece in zip(trajectory.sources, pieces, strict=True)
        for _ in piece
    ]
    return "".join(pieces), writers
