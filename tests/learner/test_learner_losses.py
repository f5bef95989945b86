"""Clip, dual clip, k3 and the weights of the mean."""

import math

import numpy as np
import pytest
import torch
from torch import tensor

from actors.learner.batches import TokenSequences
from actors.learner.losses import k3, policy_terms, row_weights, target_counts
from actors.settings import GrpoLossSettings

SETTINGS = GrpoLossSettings(clip_low=0.2, clip_high=0.3)
TIS = {"tis_cap": 2.0}


def loss_and_gradient(ratio: float, advantage: float, settings: GrpoLossSettings = SETTINGS) -> tuple[float, float]:
    logprob = tensor([math.log(ratio)], requires_grad=True)
    old = tensor([0.0])
    terms = policy_terms(logprob, old, old, tensor([advantage]), settings)
    terms.loss.sum().backward()
    return terms.loss.item(), logprob.grad.item()


@pytest.mark.parametrize(
    ("ratio", "advantage", "loss"),
    [(1.1, 2.0, -2.2), (1.5, 2.0, -2.6), (0.5, 2.0, -1.0), (1.5, -2.0, 3.0), (0.5, -2.0, 1.6), (0.9, -2.0, 1.8)],
)
def test_the_loss_is_the_pessimistic_of_free_and_clipped(ratio, advantage, loss):
    assert loss_and_gradient(ratio, advantage)[0] == pytest.approx(loss)


@pytest.mark.parametrize(("ratio", "advantage"), [(1.5, 2.0), (0.5, -2.0)])
def test_a_clipped_token_gives_no_gradient(ratio, advantage):
    assert loss_and_gradient(ratio, advantage)[1] == 0.0


def test_on_policy_the_gradient_is_minus_the_advantage():
    assert loss_and_gradient(1.0, 2.0)[1] == pytest.approx(-2.0)


def test_the_dual_clip_bounds_the_loss_of_negative_advantages():
    dual = SETTINGS.model_copy(update={"dual_clip": 3.0})
    assert loss_and_gradient(8.0, -2.0, dual) == (pytest.approx(6.0), 0.0)
    assert loss_and_gradient(8.0, -2.0)[0] == pytest.approx(16.0)


def test_the_dual_clip_leaves_positive_advantages_alone():
    dual = SETTINGS.model_copy(update={"dual_clip": 3.0})
    assert loss_and_gradient(1.1, 2.0, dual) == loss_and_gradient(1.1, 2.0)


def test_clipped_marks_tokens_without_gradient():
    logprobs = tensor([1.5, 1.1, 0.5, 0.5]).log()
    advantages = tensor([1.0, 1.0, 1.0, -1.0])
    old = torch.zeros(4)
    assert policy_terms(logprobs, old, old, advantages, SETTINGS).clipped.tolist() == [True, False, False, True]


def test_k3_is_zero_at_the_reference_and_positive_elsewhere():
    assert k3(tensor([-1.0]), tensor([-1.0])).item() == 0.0
    assert k3(tensor([-1.0, -2.0]), tensor([-2.0, -1.0])).tolist() == pytest.approx([math.exp(-1), math.e - 2])


def test_k3_is_an_unbiased_estimate_of_the_kl():
    policy, reference = torch.randn(2, 9, generator=torch.Generator().manual_seed(0)).log_softmax(-1)
    expected = (policy.exp() * (policy - reference)).sum()
    torch.testing.assert_close((policy.exp() * k3(policy, reference)).sum(), expected)


def test_an_absurd_ratio_stays_finite():
    old = tensor([-1e4])
    assert math.isfinite(policy_terms(tensor([0.0]), old, old, tensor([-1.0]), SETTINGS).loss.item())
    corrected = policy_terms(tensor([0.0]), tensor([0.0]), old, tensor([-1.0]), SETTINGS.model_copy(update=TIS))
    assert corrected.tis_weight.item() == 2.0 and math.isfinite(corrected.tis_ratio.item())


def decoupled_loss(policy, proximal, behaviour, advantages, settings):
    """The objective on probabilities, a token at a time, in double precision."""
    losses = []
    for p, q, b, advantage in zip(policy.exp(), proximal.exp(), behaviour.exp(), advantages, strict=True):
        ratio = p / q
        clipped = min(max(ratio.item(), 1 - settings.clip_low), 1 + settings.clip_high)
        gain = min(ratio * advantage, clipped * advantage, key=torch.Tensor.item)
        if settings.dual_clip and advantage < 0:
            gain = max(gain, settings.dual_clip * advantage, key=torch.Tensor.item)
        losses.append(-min((q / b).item(), settings.tis_cap) * gain)
    return losses


@pytest.mark.parametrize("dual_clip", [None, 3.0])
def test_truncated_importance_sampling_equals_the_decoupled_objective(dual_clip):
    draw = torch.Generator().manual_seed(0)
    behaviour, moved, updated, advantages = torch.randn(4, 400, generator=draw).double()
    behaviour -= 2.0
    proximal = behaviour + 0.8 * moved
    settings = SETTINGS.model_copy(update=TIS | {"dual_clip": dual_clip})
    expected_policy = (proximal + 0.8 * updated).requires_grad_()
    expected = decoupled_loss(expected_policy, proximal, behaviour, advantages, settings)
    sum(expected).backward()

    policy = expected_policy.detach().float().requires_grad_()
    terms = policy_terms(policy, proximal.float(), behaviour.float(), advantages.float(), settings)
    terms.loss.sum().backward()
    torch.testing.assert_close(terms.loss, torch.stack([torch.as_tensor(loss) for loss in expected]).float())
    torch.testing.assert_close(policy.grad, expected_policy.grad.float())
    ratio = (proximal - behaviour).exp()
    torch.testing.assert_close(terms.tis_ratio.double(), ratio, rtol=1e-5, atol=1e-6)
    assert terms.tis_weight.max() == 2.0 and (terms.tis_weight < terms.tis_ratio).sum() == (ratio > 2).sum() > 10


def test_the_clip_is_around_the_proximal_policy_and_not_around_the_one_that_sampled():
    settings = SETTINGS.model_copy(update=TIS)
    policy = tensor([0.0], requires_grad=True)
    terms = policy_terms(policy, policy.detach(), tensor([math.log(0.25)]), tensor([3.0]), settings)
    terms.loss.sum().backward()
    assert not terms.clipped.item()  # against the policy that sampled, the ratio is 4
    assert terms.loss.item() == pytest.approx(-6.0) and policy.grad.item() == pytest.approx(-6.0)


def test_without_a_cap_every_weight_is_exactly_one():
    old = torch.randn(50, generator=torch.Generator().manual_seed(1))
    terms = policy_terms(old + 0.3, old, old, torch.ones(50), SETTINGS)
    assert set(terms.tis_weight.tolist()) == set(terms.tis_ratio.tolist()) == {1.0}


def test_token_mean_weighs_all_tokens_alike():
    assert row_weights(np.asarray([2, 0, 6]), "token_mean").tolist() == pytest.approx([1 / 8] * 3)


def test_sequence_mean_weighs_rows_with_targets_alike():
    weights = row_weights(np.asarray([2, 0, 6]), "sequence_mean")
    assert (weights * [2, 0, 6]).tolist() == pytest.approx([0.5, 0.0, 0.5])


def test_a_rows_first_token_is_not_counted():
    batch = TokenSequences(np.zeros(5, np.int32), np.asarray([0, 3, 3, 5]), np.ones(5, np.bool_))
    assert target_counts(batch, np.asarray([2, 0, 1])).tolist() == [1, 2, 0]
