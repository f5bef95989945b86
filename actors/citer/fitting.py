"""Training the router: binary cross-entropy on labelled tokens, stopped early on held-out solutions."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from actors.citer.router import RouterSpec, TokenRouter
from actors.citer.settings import RouterSettings
from cluster.errors import RunError

_EVALUATION_TOKENS = 8192


class NothingToLearnError(RunError, ValueError):
    """There are too few labelled tokens or solutions to train a router on."""


@dataclass(frozen=True, slots=True)
class RouterFit:
    """The result of training a router; losses are mean cross-entropies in nats per token."""

    epochs: int
    training_loss: float
    """of the last epoch"""
    validation_loss: float
    """the lowest of all epochs; the router keeps the weights of that epoch"""
    validation_accuracy: float
    """share of held-out tokens that the router labels correctly at a threshold of 0.5"""
    teacher_recall: float
    """share of the held-out teacher tokens that the router gives to the teacher; 1 if there are none"""


def fit_router(
    hidden: Tensor,
    student_may_write: Tensor,
    solutions: Tensor,
    settings: RouterSettings,
    seed: int,
) -> tuple[TokenRouter, RouterFit]:
    """Return the router with the lowest validation loss, in evaluation mode on the device of `hidden`, and how training went.

    `hidden` is [m, h] and `student_may_write` [m] bool. `solutions` [m] holds the index of each token's solution: whole
    solutions are held out for validation. Raises `NothingToLearnError` unless there are two solutions and two
    training tokens.
    """
    held_out = _held_out(solutions.cpu(), settings.validation_share, seed).to(hidden.device)
    training = torch.nonzero(~held_out)[:, 0]
    if len(training) < 2:
        raise NothingToLearnError(f"a router needs at least 2 tokens to train on, there are {len(training)}")
    targets = student_may_write.float()
    shuffle = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        router = TokenRouter(RouterSpec(hidden_size=hidden.shape[1], dropout=settings.dropout)).to(hidden.device)
        optimizer = torch.optim.AdamW(router.parameters(), lr=settings.lr, weight_decay=settings.weight_decay)
        best, best_loss, best_epoch = router.state_dict(), float("inf"), 0
        for epoch in range(1, settings.max_epochs + 1):
            router.train()
            order = training[torch.randperm(len(training), generator=shuffle).to(training.device)]
            steps = max(
                len(order) // settings.tokens_per_step, 1
            )  # equal parts, since batch norm fails on a last part of 1
            losses = []
            for rows in order.tensor_split(steps):
                loss = functional.binary_cross_entropy_with_logits(router(hidden[rows]), targets[rows])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                losses.append(loss.item() * len(rows))
            logits = _logits(router, hidden[held_out])
            validation_loss = functional.binary_cross_entropy_with_logits(logits, targets[held_out]).item()
            if validation_loss < best_loss:
                best, best_loss, best_epoch = copy.deepcopy(router.state_dict()), validation_loss, epoch
            if epoch - best_epoch >= settings.patience:
                break
    router.load_state_dict(best)
    predicted, actual = _logits(router, hidden[held_out]) >= 0, student_may_write[held_out]
    teachers = ~actual
    return router, RouterFit(
        epochs=epoch,
        training_loss=sum(losses) / len(training),
        validation_loss=best_loss,
        validation_accuracy=(predicted == actual).float().mean().item(),
        teacher_recall=(~predicted)[teachers].float().mean().item() if teachers.any() else 1.0,
    )


def _held_out(solutions: Tensor, share: float, seed: int) -> Tensor:
    """Return [m] bool, whether each token's solution is held out. At least one solution is held out, and at least one is not."""
    distinct = solutions.unique()
    if len(distinct) < 2:
        raise NothingToLearnError(
            f"a router needs labelled tokens of at least 2 solutions, one to hold out; there are {len(distinct)}"
        )
    count = min(max(round(share * len(distinct)), 1), len(distinct) - 1)
    chosen = torch.randperm(len(distinct), generator=torch.Generator().manual_seed(seed))[:count]
    return torch.isin(solutions, distinct[chosen])


@torch.inference_mode()
def _logits(router: TokenRouter, hidden: Tensor) -> Tensor:
    router.eval()
    return torch.cat([router(part) for part in hidden.split(_EVALUATION_TOKENS)])
