"""What a vLLM engine should say, by transformers; and models that differ from one another."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from transformers import Qwen3ForCausalLM

PROMPT = (3, 10, 13, 16, 9, 11, 2, 4)


def reference_logprobs(
    model: Qwen3ForCausalLM, output: np.ndarray, temperature: float, prompt: tuple[int, ...] = PROMPT
) -> np.ndarray:
    ids = torch.tensor([[*prompt, *output.tolist()]])
    with torch.no_grad():
        logprobs = (model(ids).logits[0, len(prompt) - 1 : -1] / temperature).log_softmax(-1)
    return logprobs.gather(-1, ids[0, len(prompt) :, None])[:, 0].numpy()


def disturbed(weights: dict[str, np.ndarray], seed: int) -> dict[str, np.ndarray]:
    noise = np.random.default_rng(seed)
    return {name: (w + 0.1 * noise.standard_normal(w.shape)).astype(np.float32) for name, w in weights.items()}


def changed_model(folder: Path, weights: dict[str, np.ndarray]) -> Qwen3ForCausalLM:
    model = Qwen3ForCausalLM.from_pretrained(folder)
    model.load_state_dict({name: torch.from_numpy(w) for name, w in weights.items()}, strict=False)
    model.tie_weights()
    return model
