"""Tokens are drawn from the distribution that the settings describe."""

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.citer.sampling import draw_tokens
from actors.settings import SamplingSettings


def reference(logits: np.ndarray, sampling: SamplingSettings) -> np.ndarray:
    """Probabilities by the definition: temperature, the k likeliest, the fewest that reach p together."""
    probabilities = np.exp((logits - logits.max()) / sampling.temperature)
    kept = np.argsort(-probabilities, kind="stable")[: sampling.top_k if sampling.top_k > 0 else None]
    shares = probabilities[kept] / probabilities[kept].sum()
    count = int(np.searchsorted(shares.cumsum(), sampling.top_p - 1e-6)) + 1
    result = np.zeros(len(logits))
    result[kept[:count]] = shares[:count] / shares[:count].sum()
    return result


@settings(max_examples=60, deadline=None)
@given(
    logits=st.lists(st.integers(-30, 30), min_size=2, max_size=12, unique=True),
    temperature=st.sampled_from([0.5, 1.0, 2.0]),
    top_k=st.sampled_from([-1, 1, 3]),
    top_p=st.sampled_from([0.3, 0.77, 1.0]),
)
def test_evenly_spread_uniform_numbers_draw_each_token_as_often_as_its_probability_says(
    logits: list[int], temperature: float, top_k: int, top_p: float
) -> None:
    sampling = SamplingSettings(temperature=temperature, top_k=top_k, top_p=top_p)
    row = np.array(logits) / 10
    draws = 2000
    uniform = (torch.arange(draws) + 0.5) / draws
    tokens = draw_tokens(torch.tensor(row).float().repeat(draws, 1), sampling, uniform)
    shares = np.bincount(tokens.numpy(), minlength=len(row)) / draws
    np.testing.assert_allclose(shares, reference(row, sampling), atol=2 / draws)


def test_greedy_takes_the_likeliest_of_each_row() -> None:
    logits = torch.tensor([[0.0, 2.0, 1.0], [3.0, 2.0, 1.0]])
    assert draw_tokens(logits, SamplingSettings(temperature=0.0), torch.tensor([0.9, 0.9])).tolist() == [1, 0]


def test_a_uniform_number_near_1_draws_no_token_that_was_cut_off() -> None:
    logits = torch.tensor([[0.0, 0.0, -100.0, -100.0]])
    sampling = SamplingSettings(temperature=1.0, top_k=2)
    assert draw_tokens(logits, sampling, torch.tensor([1 - 2**-24])).item() in (0, 1)
