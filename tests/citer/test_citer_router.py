"""The router: its file, its bounds, and what training makes of labelled tokens."""

from pathlib import Path

import pytest
import torch

from actors.citer.fitting import NothingToLearnError, fit_router
from actors.citer.router import RouterError, RouterSpec, TokenRouter, load_router, save_router
from actors.citer.settings import RouterSettings

CPU = torch.device("cpu")


def labelled(count: int = 600, size: int = 8, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Tokens that the student may write where the first component is positive, thirty in each solution."""
    hidden = torch.randn(count, size, generator=torch.Generator().manual_seed(seed))
    return hidden, hidden[:, 0] > 0, torch.arange(count) // 30


def test_a_router_loads_back_equal(tmp_path: Path) -> None:
    router, _ = fit_router(*labelled(), RouterSettings(max_epochs=2), seed=0)
    save_router(router, tmp_path / "router")
    hidden = torch.randn(20, 8)
    loaded = load_router(tmp_path / "router", CPU, hidden_size=8)
    assert loaded.spec == router.spec
    assert torch.equal(loaded.confidence(hidden), router.confidence(hidden))
    assert not loaded.training


def test_a_router_of_another_student_is_refused(tmp_path: Path) -> None:
    save_router(TokenRouter(RouterSpec(hidden_size=8)), tmp_path / "router")
    with pytest.raises(RouterError, match="hidden size of 8, but the student's is 16"):
        load_router(tmp_path / "router", CPU, hidden_size=16)


@pytest.mark.parametrize("file", ["router.json", "router.safetensors"])
@pytest.mark.parametrize("content", [None, b"", b"{}"])
def test_a_damaged_router_is_named(tmp_path: Path, file: str, content: bytes | None) -> None:
    folder = tmp_path / "router"
    save_router(TokenRouter(RouterSpec(hidden_size=8)), folder)
    (folder / file).unlink()
    if content is not None:
        (folder / file).write_bytes(content)
    with pytest.raises(RouterError, match=str(folder)):
        load_router(folder, CPU, hidden_size=8)


def test_the_hidden_layers_are_twice_and_once_the_students_size() -> None:
    layers = TokenRouter(RouterSpec(hidden_size=8)).layers
    shapes = [(layer.in_features, layer.out_features) for layer in layers if isinstance(layer, torch.nn.Linear)]
    assert shapes == [(8, 16), (16, 8), (8, 1)]


@pytest.mark.parametrize("bias", [-1e4, 1e4])
def test_no_confidence_is_0_or_1(bias: float) -> None:
    router = TokenRouter(RouterSpec(hidden_size=4)).eval()
    torch.nn.init.constant_(router.layers[-1].bias, bias)
    confidence = router.confidence(torch.randn(5, 4))
    assert bool(((confidence > 0) & (confidence < 1)).all())


def test_training_finds_the_tokens_that_the_student_does_not_know() -> None:
    router, fit = fit_router(*labelled(2000), RouterSettings(), seed=0)
    hidden, may_write, _ = labelled(500, seed=1)
    assert ((router.confidence(hidden) >= 0.5) == may_write).float().mean() > 0.95
    assert fit.validation_accuracy > 0.9 and fit.teacher_recall > 0.9


def test_training_stops_early_where_there_is_nothing_to_find() -> None:
    hidden, _, solutions = labelled()
    noise = torch.rand(len(hidden), generator=torch.Generator().manual_seed(1)) > 0.5
    _, fit = fit_router(hidden, noise, solutions, RouterSettings(max_epochs=200, patience=3), seed=0)
    assert fit.epochs < 200
    assert fit.training_loss < fit.validation_loss


def test_the_router_is_that_of_the_lowest_validation_loss_and_not_the_last() -> None:
    hidden, _, solutions = labelled()
    noise = torch.rand(len(hidden), generator=torch.Generator().manual_seed(1)) > 0.5
    settings = RouterSettings(max_epochs=200, patience=3)
    router, fit = fit_router(hidden, noise, solutions, settings, seed=0)
    until_best = settings.model_copy(update={"max_epochs": fit.epochs - settings.patience})
    best, _ = fit_router(hidden, noise, solutions, until_best, seed=0)
    assert torch.equal(router.confidence(hidden), best.confidence(hidden))


def test_equal_seeds_give_equal_routers_and_leave_the_global_randomness_alone() -> None:
    before = torch.random.get_rng_state()
    routers = [fit_router(*labelled(), RouterSettings(max_epochs=2), seed=seed)[0] for seed in (0, 0, 1)]
    assert torch.equal(torch.random.get_rng_state(), before)
    first, again, other = (router.layers[0].weight for router in routers)
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_a_rest_of_one_token_does_not_break_batch_norm() -> None:
    hidden, may_write, _ = labelled(11)
    solutions = torch.tensor([0] * 9 + [1] * 2)
    fit_router(hidden, may_write, solutions, RouterSettings(tokens_per_step=8, max_epochs=1, validation_share=0.5), 0)


def test_one_solution_is_too_few() -> None:
    hidden, may_write, _ = labelled(30)
    with pytest.raises(NothingToLearnError, match="at least 2 solutions"):
        fit_router(hidden, may_write, torch.zeros(30, dtype=torch.long), RouterSettings(), seed=0)
