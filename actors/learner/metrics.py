"""What the learner reports about its optimizer steps. Values cover all ranks unless they say otherwise."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SftMetrics:
    """One supervised optimizer step."""

    loss: float
    """mean cross-entropy over the step's target tokens, nats"""
    tokens: int
    """target tokens"""
    grad_norm: float
    """norm of the gradient before clipping; NaN if it is not finite"""
    lr: float
    non_finite_steps: int
    """1 if the gradient was not finite, so that the step was not taken"""
    seconds: float


@dataclass(frozen=True, slots=True)
class GrpoMetrics:
    """The steps on one batch of trajectories. Means are over trained tokens, before each mini-batch's update.

    A mini-batch whose gradient was not finite is left out of the means and maxima, but not of the counts of rows, tokens and
    micro-batches, unless they say otherwise.
    """

    loss: float
    """mean over mini-batches of policy loss + KL coefficient x KL, with the objective's denominators"""
    pg_loss: float
    """the policy-gradient part of `loss`"""
    kl: float
    """mean k3 estimate of KL(policy || reference), nats per token; 0 without a reference"""
    entropy: float
    """mean entropy of the policy at the trained positions, nats"""
    clip_fraction: float
    """share of trained tokens where the clipped objective is the smaller one"""
    ratio_mean: float
    """mean of policy / proximal; the proximal policy is the one that sampled, unless `tis_cap` is set"""
    ratio_max: float
    tis_weight_mean: float
    """mean weight of truncated importance sampling; 1 if that is off"""
    tis_ratio_max: float
    """largest proximal / behaviour, before truncation"""
    tis_truncated_share: float
    """share of trained tokens whose weight was cut to the cap"""
    behaviour_kl: float
    """mean k3 estimate of KL(behaviour || policy), nats per token"""
    logprob_gap: float
    """mean |learner's log-prob - rollout's log-prob| in nats, over student tokens of the first mini-batch, before any update"""
    staleness: float
    """mean over trained student tokens of (learner's version - version that sampled the token)"""
    staleness_max: float
    """the largest such difference"""
    grad_norm: float
    """mean over optimizer steps, before clipping"""
    lr: float
    """learning rate of the last mini-batch that was learned from"""
    optimizer_steps: int
    """steps taken: mini-batches that had a row to learn from and a finite gradient"""
    non_finite_steps: int
    """steps not taken: mini-batches whose gradient was not finite"""
    skipped_rows: int
    """rows left out: they have no policy-mask token, for example because they are not trainable, or, without a KL term, advantage 0"""
    trained_tokens: int
    """policy-mask tokens in the loss of the steps taken"""
    policy_tokens: int
    """policy-mask tokens of all rows, skipped ones included: the denominator of the token mean"""
    teacher_tokens: int
    """teacher-written tokens of all rows, skipped ones included; context, or trained if so configured"""
    context_tokens: int
    """prompt and output tokens of the rows that were learned from, each counted once"""
    micro_batches: int
    """micro-batches of one rank"""
    tokens_per_s: float
    """`context_tokens` / `seconds`"""
    seconds: float
