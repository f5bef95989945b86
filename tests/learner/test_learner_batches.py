"""Trajectories become prompt + output rows whose policy mask holds on what the policy wrote."""

import numpy as np
import pytest

from actors.learner.batches import policy_sequences
from actors.trajectory import Source

ONES = np.ones(8, np.float32)
ALL = np.ones(8, np.bool_)


def test_a_row_is_the_prompt_and_the_output(trajectories):
    policy = policy_sequences(trajectories, ONES, ALL)
    start, end = policy.sequences.offsets[3:5]
    expected = [*trajectories[3].prompt_ids, *trajectories[3].token_ids]
    assert policy.sequences.token_ids[start:end].tolist() == expected


def test_the_policy_mask_is_the_students_unconstrained_tokens(trajectories):
    policy = policy_sequences(trajectories, ONES, ALL)
    start, end = policy.sequences.offsets[3:5]
    expected = [
        *np.zeros(len(trajectories[3].prompt_ids), bool),
        *((trajectories[3].sources == Source.STUDENT) & ~trajectories[3].constrained),
    ]
    assert policy.sequences.loss_mask[start:end].tolist() == expected


def test_teacher_tokens_join_the_mask_only_when_asked_for(trajectories):
    masked = policy_sequences(trajectories, ONES, ALL).sequences.loss_mask.sum()
    policy = policy_sequences(trajectories, ONES, ALL, train_teacher_tokens=True)
    assert policy.sequences.loss_mask.sum() - masked == policy.recompute.sum() == policy.teacher_tokens.sum() == 24


def test_rows_that_are_not_trainable_have_an_empty_mask(trajectories):
    policy = policy_sequences(trajectories, ONES, np.arange(8) != 2)
    start, end = policy.sequences.offsets[2:4]
    assert not policy.sequences.loss_mask[start:end].any()


def test_columns_of_another_length_are_refused(trajectories):
    with pytest.raises(ValueError, match="8 trajectories with 7 advantages"):
        policy_sequences(trajectories, ONES[:7], ALL)
