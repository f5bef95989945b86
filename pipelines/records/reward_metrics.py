"""Metrics of graded trajectories, each derived from their columns."""

from collections.abc import Sequence

import numpy as np

from actors.reward import NO_SCENARIO, SCENARIOS, GradedGroups
from actors.trajectory import FinishReason


def summarise(graded: Sequence[GradedGroups]) -> dict[str, float]:
    """Return the `rollout/` and `reward/` metrics of `pipelines.records.metrics.METRICS`, over all trajectories of all batches.

    Shares and ratios are in [0, 1], and a mean over nothing is 0. Raises `ValueError` if there is no trajectory.
    """
    if not any(len(groups) for groups in graded):
        raise ValueError("there are no trajectories to summarise")

    def column(name: str) -> np.ndarray:
        return np.concatenate([getattr(groups, name) for groups in graded])

    scenario, trainable, finish = column("scenario"), column("trainable"), column("finish")
    output_tokens, teacher_tokens, calls = column("output_tokens"), column("teacher_tokens"), column("calls")
    teacher_prompt_tokens = column("teacher_prompt_tokens")
    zero, malformed, unterminated, over_limit = column("rejected").mean(axis=0)
    rewards = column("reward")[trainable]
    named = scenario[scenario != NO_SCENARIO]
    flat_groups = [np.all(groups.advantage.reshape(-1, groups.group_size) == 0, axis=1) for groups in graded]
    values = {
        "rollout/accuracy": column("correct").mean(),
        "rollout/call_ratio": teacher_tokens.sum() / max(output_tokens.sum(), 1),
        "rollout/call_ratio_mean": column("call_ratio").mean(),
        "rollout/with_call_share": np.mean(calls > 0),
        "rollout/calls_per_sample": calls.mean(),
        "rollout/requested_mean": column("requested_tokens").sum() / max(calls.sum(), 1),
        "rollout/written_mean": column("written_tokens").sum() / max(calls.sum(), 1),
        "rollout/teacher_prompt_tokens_mean": teacher_prompt_tokens.sum() / max(calls.sum(), 1),
        "rollout/teacher_cached_share": column("teacher_cached_tokens").sum() / max(teacher_prompt_tokens.sum(), 1),
        "rollout/failed_calls": column("failed_calls").sum(),
        "rollout/failed_call_share": column("failed_calls").sum() / max(calls.sum(), 1),
        "rollout/zero_per_sample": zero,
        "rollout/malformed_per_sample": malformed,
        "rollout/unterminated_per_sample": unterminated,
        "rollout/over_limit_per_sample": over_limit,
        **{
            f"rollout/scenario_{name}_share": np.mean(named == i) if len(named) else 0.0
            for i, name in enumerate(SCENARIOS)
        },
        "reward/mean": rewards.mean() if len(rewards) else 0.0,
        "reward/std": rewards.std() if len(rewards) else 0.0,
        "reward/zero_advantage_group_share": np.concatenate(flat_groups).mean(),
        "rollout/trainable_share": trainable.mean(),
        "rollout/output_tokens_mean": output_tokens.mean(),
        "rollout/cut_off_share": column("cut_off").mean(),
        "rollout/teacher_ended_share": np.mean(finish == FinishReason.TEACHER_END),
        "reward/grading_timeouts": column("timed_out").sum(),
    }
    return {name: float(value) for name, value in values.items()}
