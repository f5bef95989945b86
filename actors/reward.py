"""The reward actor: it grades groups of trajectories, and computes their scenarios, rewards and advantages."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from actors.grading import GradingHealth, GradingPool, GradingSettings, Verdict
from actors.relay.grammar import without_commands
from actors.trajectory import Bool, CallEnding, FinishReason, Float32, Source, TrajectoryBatch, UInt8
from cluster.metrics.publisher import Publishing, Reading, publish_actor
from cluster.metrics.states import ActorState, StateClock
from cluster.names import title_of_actor
from cluster.stacks import show_stacks_on_signal
from rewards.advantages import group_advantages
from rewards.scenarios import Outcome, Scenario, scenario_of
from rewards.schemes import RewardError, RewardSettings, group_rewards, overlong_penalty
from rewards.verification import AnswerForm

SCENARIOS = tuple(Scenario)
"""all scenarios; `GradedGroups.scenario` holds indices into this tuple"""

NO_SCENARIO = 255
"""value of `GradedGroups.scenario` for a group without a trainable trajectory"""


@dataclass(frozen=True, eq=False)
class GradedGroups:
    """Results of grading, as columns over N trajectories in the order of their batch. Groups are consecutive and of one size.

    A row is untrainable if a call failed, or if it was cut off and `reward.cut_off` is `excluded`. Untrainable rows are graded,
    but they do not affect their group's scenario, mean or standard deviation. Their reward and advantage are 0.
    """

    group_size: int
    scenario: UInt8
    """[N / group_size] index into `SCENARIOS`, or `NO_SCENARIO`"""
    correct: Bool
    """[N] whether the answer is right; one that was cut off is wrong, unless `reward.cut_off` is `graded`"""
    timed_out: Bool
    """[N] the comparison missed its deadline or ended its process, so the answer counts as wrong"""
    trainable: Bool
    """[N] whether the row may be in the loss"""
    called: Bool
    """[N] the teacher wrote at least one token"""
    reward: Float32
    """[N]"""
    advantage: Float32
    """[N]"""
    output_tokens: NDArray[np.int32]
    """[N] all output tokens, commands included"""
    teacher_tokens: NDArray[np.int32]
    """[N] output tokens that the teacher wrote"""
    calls: NDArray[np.int32]
    """[N] number of calls, failed ones included"""
    failed_calls: NDArray[np.int32]
    """[N] number of failed calls"""
    unanswered: Bool
    """[N] whether the teacher was asked in a failed call. It is not asked if its context has no room"""
    requested_tokens: NDArray[np.int64]
    """[N] tokens that the teacher was asked for, summed over the calls"""
    written_tokens: NDArray[np.int64]
    """[N] tokens that the teacher wrote, summed over the calls"""
    teacher_prompt_tokens: NDArray[np.int64]
    """[N] tokens of the teacher's context, summed over the calls"""
    teacher_cached_tokens: NDArray[np.int64]
    """[N] how many of `teacher_prompt_tokens` the teacher's prefix cache held"""
    rejected: NDArray[np.int32]
    """[N, 4] commands not executed: zero, malformed, unterminated, over_limit"""
    finish: UInt8
    """[N] `FinishReason`"""

    def __len__(self) -> int:
        return len(self.correct)

    @property
    def call_ratio(self) -> NDArray[np.float64]:
        """[N] teacher-written tokens / all output tokens of each trajectory."""
        return self.teacher_tokens / np.maximum(self.output_tokens, 1)

    @property
    def cut_off(self) -> Bool:
        """[N] whether the answer ended at a limit of tokens or context, not by an end of text."""
        return self.finish == FinishReason.LENGTH


class RewardActor:
    """Grades groups; the driver wraps this class in `ray.remote`."""

    def __init__(
        self,
        rewards: RewardSettings | None = None,
        grading: GradingSettings | None = None,
        publishing: Publishing | None = None,
    ) -> None:
        show_stacks_on_signal()
        self._rewards = rewards or RewardSettings()
        self._pool = GradingPool(grading)
        self._states, self._queue = StateClock("reward"), 0
        publish_actor(publishing, self.readings)

    def __repr__(self) -> str:
        return title_of_actor(type(self).__name__)

    async def grade_groups(
        self,
        batch: TrajectoryBatch,
        golds: Sequence[str],
        group_size: int,
        forms: Sequence[AnswerForm] | None = None,
        max_new_tokens: int | None = None,
    ) -> GradedGroups:
        """Grade groups of `group_size` consecutive trajectories, with one gold answer for each group.

        `forms` are the forms of the golds; None means all free. `max_new_tokens` is the limit of an answer, which the penalty
        on overlong answers needs; None applies no penalty. Raises `ValueError` if the sizes do not agree, `RewardError` if a
        scheme returns no valid reward, and `GradingError` if a grading process cannot start.
        """
        if group_size < 1 or len(batch) != len(golds) * group_size:
            raise ValueError(
                f"{len(batch)} trajectories are not {len(golds)} groups (one per gold answer) of {group_size} each"
            )
        texts = [without_commands(text) for text in batch.texts]
        items = [(text, golds[row // group_size]) for row, text in enumerate(texts)]
        item_forms = None if forms is None else [forms[row // group_size] for row in range(len(texts))]
        self._queue += 1
        try:
            with self._states.within(ActorState.GRADING):
                verdicts = await self._pool.grade(items, item_forms)
                return graded_groups(batch, verdicts, group_size, self._rewards, golds, max_new_tokens)
        finally:
            self._queue -= 1

    def readings(self) -> Iterator[Reading]:
        """Yield what the actor's metrics show now."""
        yield from self._states.readings()
        health = self._pool.health()
        yield Reading("relayllm_grading_queue", self._queue)
        yield Reading("relayllm_graded_answers", health.graded)
        yield Reading("relayllm_grading_failures", health.timed_out, {"reason": "timed_out"})
        yield Reading("relayllm_grading_failures", health.crashed, {"reason": "crashed"})

    def health(self) -> GradingHealth:
        """Return the state of the grading processes."""
        return self._pool.health()

    def close(self) -> None:
        """Stop the grading processes."""
        self._pool.close()


def graded_groups(
    batch: TrajectoryBatch,
    verdicts: Sequence[Verdict],
    group_size: int,
    settings: RewardSettings,
    golds: Sequence[str],
    max_new_tokens: int | None = None,
) -> GradedGroups:
    """Return the results of grading a batch whose rows have these verdicts; see `grade_groups`."""
    output_tokens = np.diff(batch.token_offsets)
    teacher_tokens = _row_sums(batch.sources == Source.TEACHER, batch.token_offsets)
    written = _call_sums(batch, "written")
    failed = batch.call_column("ending") == CallEnding.FAILED
    failed_calls = _row_sums(failed, batch.call_offsets)
    correct = np.array([verdict.correct for verdict in verdicts], np.bool_)
    called = written > 0
    trainable = failed_calls == 0
    unfinished = np.zeros(len(batch), np.bool_) if settings.cut_off == "graded" else batch.finish == FinishReason.LENGTH
    correct &= ~unfinished
    if settings.cut_off == "excluded":
        trainable &= ~unfinished

    scenario = np.full(len(batch) // group_size, NO_SCENARIO, np.uint8)
    reward = np.zeros(len(batch), np.float32)
    advantage = np.zeros(len(batch), np.float32)
    for i in range(len(scenario)):
        rows = i * group_size + np.flatnonzero(trainable[i * group_size : (i + 1) * group_size])
        if len(rows) == 0:
            continue
        lengths = np.maximum(output_tokens[rows], 1)
        if settings.call_ratio_over == "group_mean":
            lengths = np.full(len(rows), lengths.mean())
        ratios = np.minimum(teacher_tokens[rows] / lengths, 1.0)
        group = [
            Outcome(bool(correct[row]), bool(called[row]), float(ratio), bool(unfinished[row]))
            for row, ratio in zip(rows, ratios, strict=True)
        ]
        try:
            earned = np.asarray(group_rewards(group, settings))
        except RewardError as error:
            raise RewardError(f"problem with the gold answer {golds[i]!r}: {error}") from error
        if max_new_tokens is not None:
            earned -= [overlong_penalty(int(output_tokens[row]), max_new_tokens, settings) for row in rows]
        scenario[i] = SCENARIOS.index(scenario_of(group))
        reward[rows] = earned
        advantage[rows] = group_advantages(earned, settings.normalisation, settings.epsilon)

    return GradedGroups(
        group_size=group_size,
        scenario=scenario,
        correct=correct,
        timed_out=np.array([verdict.timed_out or verdict.crashed for verdict in verdicts], np.bool_),
        trainable=trainable,
        called=called,
        reward=reward,
        advantage=advantage,
        output_tokens=output_tokens.astype(np.int32),
        teacher_tokens=teacher_tokens.astype(np.int32),
        calls=np.diff(batch.call_offsets).astype(np.int32),
        failed_calls=failed_calls.astype(np.int32),
        unanswered=_row_sums(failed & (batch.call_column("duration_s") > 0), batch.call_offsets) > 0,
        requested_tokens=_call_sums(batch, "requested"),
        written_tokens=written,
        teacher_prompt_tokens=_call_sums(batch, "prompt_tokens"),
        teacher_cached_tokens=_call_sums(batch, "cached_tokens"),
        rejected=batch.rejected,
        finish=batch.finish,
    )


def _call_sums(batch: TrajectoryBatch, name: str) -> NDArray[np.int64]:
    return _row_sums(batch.call_column(name), batch.call_offsets)


def _row_sums(flat: NDArray[np.generic], offsets: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return [N] the sum of each row of a ragged column."""
    sums = np.concatenate([np.zeros(1), np.cumsum(flat, dtype=np.float64)])
    return np.asarray(sums[offsets[1:]] - sums[offsets[:-1]], np.int64)
