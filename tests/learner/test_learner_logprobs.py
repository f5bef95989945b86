"""Chunked log-probs equal the dense ones, gradients included."""

import pytest
import torch
from torch.nn import functional

from actors.learner.logprobs import chunked_logprobs

TEMPERATURE = 0.7


@pytest.fixture
def case() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(11, 8, generator=generator, requires_grad=True)
    weight = torch.randn(13, 8, generator=generator, requires_grad=True)
    targets = torch.randint(0, 13, (11,), generator=generator)
    return hidden, weight, targets, torch.randn(11, generator=generator)


def dense(hidden, weight, targets):
    log_softmax = functional.log_softmax(hidden @ weight.T / TEMPERATURE, -1)
    return log_softmax.gather(1, targets[:, None])[:, 0], torch.distributions.Categorical(logits=log_softmax).entropy()


@pytest.mark.parametrize("chunk_tokens", [1, 4, 11, 100])
def test_values_and_entropies_equal_the_dense_ones(case, chunk_tokens):
    hidden, weight, targets, _ = case
    torch.testing.assert_close(
        chunked_logprobs(hidden, weight, targets, TEMPERATURE, chunk_tokens, with_entropy=True),
        dense(hidden, weight, targets),
    )


@pytest.mark.parametrize("chunk_tokens", [1, 4, 11, 100])
def test_gradients_equal_the_dense_ones(case, chunk_tokens):
    hidden, weight, targets, upstream = case
    chunked, _ = chunked_logprobs(hidden, weight, targets, TEMPERATURE, chunk_tokens)
    expected, _ = dense(hidden, weight, targets)
    torch.testing.assert_close(
        torch.autograd.grad(chunked @ upstream, (hidden, weight)),
        torch.autograd.grad(expected @ upstream, (hidden, weight)),
    )


def test_no_positions_give_zero_gradients(case):
    hidden, weight, targets, _ = case
    logprobs, _ = chunked_logprobs(hidden[:0], weight, targets[:0], TEMPERATURE, 4)
    (gradient,) = torch.autograd.grad(logprobs.sum(), weight)
    assert not gradient.any()


def test_logits_never_exceed_a_chunk(case, monkeypatch):
    hidden, weight, targets, upstream = case
    seen = []
    linear = functional.linear
    monkeypatch.setattr(functional, "linear", lambda x, w: seen.append(len(x)) or linear(x, w))
    logprobs, _ = chunked_logprobs(hidden, weight, targets, TEMPERATURE, 4, with_entropy=True)
    (logprobs @ upstream).backward()
    assert seen == [4, 4, 3] * 2
