"""What the learner reports of its optimizer steps; all values are global over ranks."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SftMetrics:
    """One supervised optimizer step."""

    loss: float
    """mean cross-entropy over the step's target tokens, nats"""
    tokens: int
    """target tokens"""
    grad_norm: float
    """before clipping; NaN if it is not finite"""
    lr: float
    non_finite_steps: int
    """1 if the gradient was not finite, so that the step was not taken"""
    seconds: float


@dataclass(frozen=True, slots=True)
class GrpoMetrics:
    """The steps on one batch of trajectories. Means are over trained tokens, before each mini-batch's update.

    Mini-batches whose gradient was not finite are counted, and have no other part in what is reported.
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
    """of policy / proximal; the proximal policy is the sampling one unless `tis_cap` is set"""
    ratio_max: float
    tis_weight_mean: float
    """mean weight of truncated importance sampling; 1 where it is off"""
    tis_ratio_max: float
    """largest proximal / behaviour, before it is truncated"""
    tis_truncated_share: float
    """share of trained tokens whose weight was cut to the cap"""
    behaviour_kl: float
    """mean k3 estimate of KL(behaviour || policy), nats per token"""
    logprob_gap: float
    """mean |learner's log-prob - rollout's|, student tokens of the first mini-batch, before any update, nats"""
    staleness: float
    """mean over trained student tokens of the learner's version - the version that sampled the token"""
    staleness_max: float
    """the largest of these"""
    grad_norm: float
    """mean over optimizer steps, before clipping"""
    lr: float
    """of the last optimizer step"""
    optimizer_steps: int
    """steps taken: mini-batches with a row to learn from and a finite gradient"""
    non_finite_steps: int
    """steps not taken: mini-batches whose gradient was not finite"""
    skipped_rows: int
    """rows left out: no advantage (and no KL term), not trainable, or without a policy token"""
    trained_tokens: int
    """policy-mask tokens in the loss of the steps taken"""
    policy_tokens: int
    """policy-mask tokens of all rows, skipped ones included: the denominator of the token mean"""
    teacher_tokens: int
    """teacher-written tokens seen as context (or trained, if so configured)"""
    context_tokens: int
    """all tokens that went through the model"""
    micro_batches: int
    """per rank"""
    tokens_per_s: float
    """`context_tokens` / `seconds`"""
    seconds: float
