"""The learner's own log-probs of given tokens."""

from __future__ import annotations

import numpy as np
import torch

from actors.learner.batches import Int64, TokenSequences
from actors.learner.trainer import Trainer
from actors.trajectory import Bool, Float32


@torch.no_grad()
def own_logprobs(trainer: Trainer, sequences: TokenSequences, rows: Int64, mask: Bool, temperature: float) -> Float32:
    """Return [N] the learner's log-probs of the tokens of `mask` [N] in `rows`, and 0 elsewhere. Call it on all ranks.

    They are log-softmax(logits / temperature).
    """
    own = torch.zeros(len(mask), device=trainer.device)
    for chosen in trainer.plan(sequences, rows):
        packed = trainer.pack(sequences, chosen, mask)
        _, logprobs, _ = trainer.engine(packed, temperature)
        if len(chosen):
            own[torch.from_numpy(packed.target_columns).to(trainer.device)] = logprobs
    if trainer.world_size > 1:
        from deepspeed import comm

        comm.all_reduce(own)
    return np.asarray(own.cpu().numpy(), np.float32)
