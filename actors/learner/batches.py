"""What the learner learns from: token rows as columns, for supervised steps and for policy-gradient steps."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from actors.trajectory import Bool, Float32, Int32, Source, TrajectoryBatch

if TYPE_CHECKING:
    from actors.settings import GrpoLossSettings

Int64 = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class TokenSequences:
    """n token rows; row i is `token_ids[offsets[i]:offsets[i + 1]]`."""

    token_ids: Int32
    """[N]"""
    offsets: Int64
    """[n + 1]"""
    loss_mask: Bool
    """[N] the token is a target; a row's first token has nothing before it and is never one"""

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @classmethod
    def of_prompts_and_targets(
        cls, prompts: Sequence[Sequence[int]], targets: Sequence[Sequence[int]]
    ) -> TokenSequences:
        """Return one row for each prompt and its target; the targets alone are in the loss."""
        parts = [part for pair in zip(prompts, targets, strict=True) for part in pair]
        lengths = [len(part) for part in parts]
        return cls(
            token_ids=np.fromiter(itertools.chain.from_iterable(parts), np.int32, sum(lengths)),
            offsets=np.concatenate([[0], np.cumsum(lengths)[1::2]]).astype(np.int64),
            loss_mask=np.repeat(np.arange(len(parts)) % 2 == 1, lengths),
        )


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class GrpoStep:
    """How n trajectories are learned from in one step of GRPO."""

    advantages: Float32
    """[n]"""
    trainable: Bool
    """[n]"""
    minibatches: Sequence[Int64]
    """rows of each optimizer step, in order; groups stay whole"""
    loss: GrpoLossSettings
    temperature: float
    """of the rollout"""
    version: int
    """policy version of the weights before the step"""


@dataclass(frozen=True, eq=False)
class PolicySequences:
    """n trajectories as prompt + output rows, with what the GRPO objective needs of each token."""

    sequences: TokenSequences
    """`loss_mask` is the policy mask; attention always spans the whole row"""
    behaviour_logprobs: Float32
    """[N] log-prob under the policy that sampled the token; meaningless outside the policy mask"""
    recompute: Bool
    """[N] policy-mask tokens whose behaviour log-prob the learner has to compute itself: the teacher's"""
    versions: Int32
    """[N] policy version that sampled the token; -1 for prompt and teacher tokens"""
    advantages: Float32
    """[n]"""
    teacher_tokens: Int64
    """[n] tokens that the teacher wrote, trained or not"""


def policy_sequences(
    batch: TrajectoryBatch, advantages: Float32, trainable: Bool, train_teacher_tokens: bool = False
) -> PolicySequences:
    """Lay trajectories out as prompt + output rows, keeping their order.

    The policy mask holds on the student's tokens, commands included, that were drawn from the unconstrained policy, and
    with `train_teacher_tokens` on the teacher's; it is empty on rows that are not `trainable`. Raises ValueError if the
    per-row columns do not fit the batch.
    """
    if not len(batch) == len(advantages) == len(trainable):
        raise ValueError(
            f"{len(batch)} trajectories with {len(advantages)} advantages and {len(trainable)} trainable flags"
        )
    prompt_lengths, output_lengths = np.diff(batch.prompt_offsets), np.diff(batch.token_offsets)
    lengths = prompt_lengths + output_lengths
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    row = np.repeat(np.arange(len(batch)), lengths)
    output = np.arange(offsets[-1]) - offsets[row] >= prompt_lengths[row]

    def of_output(column: NDArray, fill: float | bool) -> NDArray:
        spread = np.full(len(output), fill, column.dtype)
        spread[output] = column
        return spread

    tokens = of_output(batch.token_ids, 0)
    tokens[~output] = batch.prompt_ids
    teacher = of_output(batch.sources == Source.TEACHER, False)
    student = of_output((batch.sources == Source.STUDENT) & ~batch.constrained, False)
    trained = trainable[row]
    return PolicySequences(
        sequences=TokenSequences(tokens, offsets, (student | (teacher & train_teacher_tokens)) & trained),
        behaviour_logprobs=of_output(batch.logprobs, 0.0),
        recompute=teacher & trained & train_teacher_tokens,
        versions=of_output(batch.versions, -1),
        advantages=np.asarray(advantages, np.float32),
        teacher_tokens=np.bincount(row[teacher], minlength=len(batch)).astype(np.int64),
    )
