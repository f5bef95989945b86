"""Labels for the router: at which tokens of a reference solution the student may write by itself."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from actors.engines.base import Engine, EngineError, GenerationRequest
from actors.relay.handoff import IdHandoff, RelayPrompt
from actors.settings import SamplingSettings
from actors.trajectory import Float32, Int32, UInt8

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_PASS_TOKENS = 16384
_HEAD_TOKENS = 1024
_TEACHER_REQUESTS = 512
"""in flight at a time"""


class Label(IntEnum):
    """Who should write a token."""

    TEACHER = 0
    """the student's choice is not the reference's token, but the teacher's is"""
    STUDENT = 1
    """the student's choice is the reference's token"""
    UNDECIDED = 2
    """neither model's choice is the reference's token; a rollout from the student's choice decides"""


@dataclass(frozen=True, slots=True)
class Reference:
    """A correct solution of a problem as token ids. If it has an end-of-text token, that is the last one."""

    prompt: RelayPrompt
    token_ids: tuple[int, ...]


@dataclass(frozen=True, slots=True, eq=False)
class LabelledTokens:
    """Columns over all M tokens of the reference solutions, one solution after the other."""

    hidden: Float32
    """[M, h] the student's last hidden state before the token"""
    solution: Int32
    """[M] index of the reference solution"""
    position: Int32
    """[M] index of the token in its solution"""
    choice: Int32
    """[M] the student's likeliest token"""
    label: UInt8
    """[M] `Label`"""

    def begun(self, row: int, references: Sequence[Reference]) -> tuple[int, ...]:
        """Return the first token ids of a rollout from `row`: the reference before it, then the student's choice."""
        before = references[self.solution[row]].token_ids[: self.position[row]]
        return (*before, int(self.choice[row]))


@torch.inference_mode()
def student_choices(model: PreTrainedModel, references: Sequence[Reference]) -> tuple[Float32, Int32]:
    """Return, for all M tokens of the solutions, the hidden state before the token [M, h] and the student's likeliest token [M]."""
    by_length = sorted(range(len(references)), key=lambda i: _length(references[i]))
    found: dict[int, tuple[Float32, Int32]] = {}
    while by_length:
        count = max(_PASS_TOKENS // _length(references[by_length[-1]]), 1)
        batch, by_length = by_length[-count:], by_length[:-count]
        found |= zip(batch, _one_pass(model, [references[i] for i in batch]), strict=True)
    return (
        np.concatenate([found[i][0] for i in range(len(references))]),
        np.concatenate([found[i][1] for i in range(len(references))]),
    )


async def label_tokens(
    references: Sequence[Reference], hidden: Float32, choice: Int32, teacher: Engine, timeout_s: float
) -> LabelledTokens:
    """Label each token by comparing the models' choices with the references (the shortcut of CITER, arXiv 2502.01976).

    The teacher is asked only where the student's choice is wrong. Raises `EngineError` if the teacher fails, or takes
    longer than `timeout_s` for a token.
    """
    lengths = [len(reference.token_ids) for reference in references]
    solution = np.repeat(np.arange(len(references), dtype=np.int32), lengths)
    position = np.concatenate([np.arange(length, dtype=np.int32) for length in lengths])
    truth = np.concatenate([np.asarray(reference.token_ids, np.int32) for reference in references])
    label = np.full(len(truth), Label.STUDENT, np.uint8)
    wrong = np.flatnonzero(choice != truth)
    free = asyncio.Semaphore(_TEACHER_REQUESTS)

    async def teacher_is_right(row: int) -> bool:
        reference = references[solution[row]]
        context = IdHandoff().teacher_context(reference.prompt, reference.token_ids[: position[row]])
        async with free:
            token = await _likeliest(teacher, context, timeout_s)
        return token == truth[row]

    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(teacher_is_right(int(row))) for row in wrong]
    except ExceptionGroup as errors:
        raise errors.exceptions[0] from errors
    right = np.array([task.result() for task in tasks], np.bool_)
    label[wrong] = np.where(right, Label.TEACHER, Label.UNDECIDED)
    return LabelledTokens(hidden, solution, position, choice, label)


def chosen_for_rollout(label: UInt8, most: int, seed: int) -> NDArray[np.int64]:
    """Return the undecided rows to roll out, in ascending order. If there are more than `most`, that many are drawn by the seed."""
    undecided = np.flatnonzero(label == Label.UNDECIDED)
    drawn = np.random.default_rng(seed).permutation(undecided)[:most]
    return np.sort(drawn)


def _length(reference: Reference) -> int:
    return len(reference.prompt.student_ids) + len(reference.token_ids)


def _one_pass(model: PreTrainedModel, references: Sequence[Reference]) -> list[tuple[Float32, Int32]]:
    rows = [[*reference.prompt.student_ids, *reference.token_ids] for reference in references]
    width = max(map(len, rows))
    ids = torch.tensor([[*row, *[0] * (width - len(row))] for row in rows], device=model.device)
    states = model.base_model(
        input_ids=ids, use_cache=False
    ).last_hidden_state  # padding comes last, so no token sees it
    spans = [slice(len(r.prompt.student_ids) - 1, _length(r) - 1) for r in references]
    before = torch.cat([states[row, span] for row, span in enumerate(spans)])
    head = model.get_output_embeddings()
    choice = torch.cat([head(part).argmax(dim=1) for part in before.split(_HEAD_TOKENS)])
    counts = [len(reference.token_ids) for reference in references]
    hidden = before.float().cpu().split(counts)
    choices = choice.to(torch.int32).cpu().split(counts)
    return [(states.numpy(), tokens.numpy()) for states, tokens in zip(hidden, choices, strict=True)]


async def _likeliest(teacher: Engine, context: list[int], timeout_s: float) -> int:
    try:
        async with asyncio.timeout(timeout_s):
            generation = await teacher.generate(GenerationRequest(context, 1, SamplingSettings(temperature=0.0)))
    except TimeoutError as error:
        raise EngineError(f"the teacher took longer than {timeout_s:g} s for one token") from error
    return int(generation.token_ids[0])
