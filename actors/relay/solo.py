"""Makes a trajectory of an answer that the teacher wrote alone, as in evaluation and in data filtering."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from actors.engines.base import Generation, StopReason
from actors.relay.tokenizer import Tokenizer
from actors.trajectory import FinishReason, RejectedCommands, Source, Trajectory


def solo(prompt_ids: Sequence[int], generation: Generation, tokenizer: Tokenizer) -> Trajectory:
    """Return the trajectory of an answer that the teacher wrote alone. Prompt and output are in the vocabulary of `tokenizer`."""
    count = len(generation.token_ids)
    ended = generation.stop is StopReason.END_OF_TEXT
    return Trajectory(
        prompt_ids=np.asarray(prompt_ids, np.int32),
        token_ids=np.asarray(generation.token_ids, np.int32),
        sources=np.full(count, Source.TEACHER, np.uint8),
        logprobs=np.zeros(count, np.float32),
        versions=np.full(count, -1, np.int32),
        constrained=np.zeros(count, np.bool_),
        calls=(),
        rejected=RejectedCommands(),
        finish=FinishReason.TEACHER_END if ended else FinishReason.LENGTH,
        text=tokenizer.decode(generation.token_ids.tolist()),
    )
