"""Chunked log-probs and the gradient taken with them equal the dense ones."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from actors.learner.logprobs import Chunking, target_logprobs, target_loss

TEMPERATURE = 0.7
MIB = 2**20


@pytest.fixture
def case() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(11, 8, generator=generator, requires_grad=True)
    weight = torch.randn(13, 8, generator=generator, requires_grad=True)
    targets = torch.randint(0, 13, (11,), generator=generator)
    return hidden, weight, targets, torch.randn(11, generator=generator)


def dense(hidden: Tensor, weight: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    log_softmax = functional.log_softmax(hidden @ weight.T / TEMPERATURE, -1)
    return log_softmax.gather(1, targets[:, None])[:, 0], torch.distributions.Categorical(logits=log_softmax).entropy()


def clipped_sum(logprobs: Tensor, coefficients: Tensor) -> Tensor:
    """An objective as GRPO's: not linear, and without gradient at some positions."""
    ratio = (logprobs + 2.0).exp()
    return torch.maximum(ratio * coefficients, ratio.clamp(0.8, 1.2) * coefficients).sum()


@pytest.mark.parametrize("chunk_tokens", [1, 4, 11, 100])
def test_values_and_entropies_equal_the_dense_ones(case, chunk_tokens):
    hidden, weight, targets, _ = case
    scores = target_logprobs(hidden, weight, targets, TEMPERATURE, Chunking(chunk_tokens, MIB), with_entropy=True)
    torch.testing.assert_close(scores, tuple(value.detach() for value in dense(hidden, weight, targets)))


@pytest.mark.parametrize("chunk_tokens", [1, 4, 11, 100])
def test_loss_and_gradients_equal_the_dense_ones(case, chunk_tokens):
    hidden, weight, targets, coefficients = case
    loss, logprobs, entropies = target_loss(
        hidden,
        weight,
        targets,
        TEMPERATURE,
        Chunking(chunk_tokens, MIB),
        lambda values, part: clipped_sum(values, coefficients[part]),
        with_entropy=True,
    )
    expected_logprobs, expected_entropies = dense(hidden, weight, targets)
    expected = clipped_sum(expected_logprobs, coefficients)
    torch.testing.assert_close((loss, logprobs, entropies), (expected, expected_logprobs, expected_entropies))
    torch.testing.assert_close(
        torch.autograd.grad(3.0 * loss, (hidden, weight)), torch.autograd.grad(3.0 * expected, (hidden, weight))
    )
    assert not logprobs.requires_grad and not entropies.requires_grad


def test_gradients_in_bfloat16_are_the_exact_ones_up_to_its_rounding(case):
    hidden, weight, targets, coefficients = case
    half = [values.detach().bfloat16().requires_grad_() for values in (hidden, weight)]
    exact = [values.detach().float().requires_grad_() for values in half]
    loss, *_ = target_loss(
        *half, targets, TEMPERATURE, Chunking(4, MIB), lambda values, part: (values * coefficients[part]).sum()
    )
    gradients = torch.autograd.grad(loss, half)
    expected = torch.autograd.grad((dense(*exact, targets)[0] * coefficients).sum(), exact)
    for gradient, value in zip(gradients, expected, strict=True):
        assert gradient.dtype == torch.bfloat16
        torch.testing.assert_close(gradient.float(), value, atol=0.03 * value.abs().max().item(), rtol=0.02)


def test_no_positions_give_zero_gradients(case):
    hidden, weight, targets, _ = case
    loss, *_ = target_loss(hidden[:0], weight, targets[:0], TEMPERATURE, Chunking(4, MIB), lambda v, _: v.sum())
    (gradient,) = torch.autograd.grad(loss, weight)
    assert not gradient.any()


def test_logits_are_computed_once_and_never_exceed_a_chunk(case, monkeypatch):
    hidden, weight, targets, _ = case
    seen = []
    linear = functional.linear
    monkeypatch.setattr(functional, "linear", lambda x, w: seen.append(len(x)) or linear(x, w))
    loss, *_ = target_loss(
        hidden, weight, targets, TEMPERATURE, Chunking(4, MIB), lambda v, _: v.sum(), with_entropy=True
    )
    loss.backward()
    assert seen == [4, 4, 3]


def test_a_large_vocabulary_makes_smaller_chunks():
    chunking = Chunking(tokens=1024, logits_bytes=16 * MIB)
    assert [chunking.positions(vocabulary) for vocabulary in (64, 4096, 150_000, 10**8)] == [1024, 1024, 27, 1]
