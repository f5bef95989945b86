"""An answer of one engine alone."""

import numpy as np
import pytest

from actors.engines.base import Generation, StopReason
from actors.relay.solo import solo
from actors.trajectory import FinishReason, Source
from tests.scripted import PieceTokenizer

TOKENIZER = PieceTokenizer(["a", "b"])


def generation(stop: StopReason) -> Generation:
    return Generation(np.array([1, 2, 0], np.int32), np.ones(3, np.float32), np.full(3, 5, np.int32), stop, 1, 0)


def test_all_tokens_are_the_teachers() -> None:
    trajectory = solo([2], generation(StopReason.END_OF_TEXT), TOKENIZER)
    assert trajectory.sources.tolist() == [Source.TEACHER] * 3
    assert trajectory.versions.tolist() == [-1] * 3
    assert trajectory.logprobs.tolist() == [0.0] * 3
    assert trajectory.call_ratio == 1.0
    assert trajectory.text == "ab"
    assert trajectory.prompt_ids.tolist() == [2]


@pytest.mark.parametrize(
    ("stop", "finish"),
    [(StopReason.END_OF_TEXT, FinishReason.TEACHER_END), (StopReason.LENGTH, FinishReason.LENGTH)],
)
def test_finish_tells_an_end_from_a_cut(stop: StopReason, finish: FinishReason) -> None:
    assert solo([2], generation(stop), TOKENIZER).finish is finish
