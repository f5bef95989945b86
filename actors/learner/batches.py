"""The learner's data: rows of tokens stored as columns, for supervised steps and for policy-gradient steps."""

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
    """[N] whether the token is a target. A row's first token is never one, because nothing predicts it"""

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @classmethod
    def of_prompts_and_targets(
        cls, prompts: Sequence[Sequence[int]], targets: Sequence[Sequence[int]]
    ) -> TokenSequences:
        """Return one row for each prompt and its target. Only the tokens of the target are in the loss."""
        parts = [part for pair in zip(prompts, targets, strict=True) for part in pair]
        lengths = [len(part) for part in parts]
        return cls(
            token_ids=np.fromiter(itertools.chain.from_iterable(parts), np.int32, sum(lengths)),
            offsets=np.concatenate([[0], np.cumsum(lengths)[1::2]]).astype(np.int64),
            loss_mask=np.repeat(np.arange(len(parts)) % 2 == 1, lengths),
        )


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class GrpoStep:
    """How one step of GRPO learns from n trajectories."""

    advantages: Float32
    """[n]"""
    trainable: Bool
    """[n] whether the trajectory may be in the loss"""
    minibatches: Sequence[Int64]
    """indices of the trajectories of each optimizer step, in order; a group is never split"""
    loss: GrpoLossSettings
    temperature: float
    """the sampling temperature of the rollout"""
    version: int
    """policy version of the weights before the step"""


@dataclass(frozen=True, eq=False)
class PolicySequences:
    """n trajectories as rows of prompt + output, with the columns that the GRPO objective needs for each token."""

    sequences: TokenSequences
    """`loss_mask` is the policy mask: the tokens in the loss. Attention always spans the whole row"""
    behaviour_logprobs: Float32
    """[N] log-prob under the policy that sampled the token; meaningless outside the policy mask"""
    recompute: Bool
    """[N] whether the learner must compute the token's behaviour log-prob itself: true for teacher tokens in the policy mask"""
    versions: Int32
    """[N] policy version that sampled the token; -1 for prompt and teacher tokens"""
    advantages: Float32
    """[n]"""
    teacher_tokens: Int64
    """[n] number of tokens that the teacher wrote, in the loss or not"""


def policy_sequences(
    batch: TrajectoryBatch, advantages: Float32, trainable: Bool, train_teacher_tokens: bool = False
) -> PolicySequences:
    """Return the trajectories as rows of prompt + output, in their order; `advantages` and `trainable` are [n].

    The policy mask is true for student tokens, commands included, unless they were drawn from a constrained distribution.
    With `train_teacher_tokens` it is true for teacher tokens too. It is false in rows that are not `trainable`.
    Raises ValueError if `advantages` or `trainable` have another length than the batch.
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
