"""Settings of the learner that buy time or memory: the results stay, and what cannot work says so."""

import sys

import numpy as np
import pytest

from actors.learner.batches import TokenSequences
from actors.learner.kernels import KernelError, compile_parts, require_liger, use_liger
from actors.learner.logprobs import Chunking
from actors.learner.model import ModelSpec, load_model
from actors.learner.sft import sft_step, sft_steps
from actors.settings import OptimizerSettings


@pytest.fixture
def texts() -> TokenSequences:
    tokens = np.random.default_rng(3).integers(0, 64, 40).astype(np.int32)
    return TokenSequences(tokens, np.asarray([0, 12, 15, 31, 40]), np.ones(40, np.bool_))


def trained(make_trainer, model_folder, texts: TokenSequences, **settings: object) -> dict[str, np.ndarray]:
    trainer = make_trainer(**settings)
    trainer.load(str(model_folder), OptimizerSettings(lr=1e-2), 10)
    sft_steps(trainer, texts, [np.arange(4)] * 3)
    return trainer.weights()


@pytest.mark.parametrize("zero_stage", [2, 3])
def test_an_optimizer_on_the_host_takes_the_same_steps(make_trainer, model_folder, texts, zero_stage):
    expected = trained(make_trainer, model_folder, texts, zero_stage=zero_stage)
    actual = trained(make_trainer, model_folder, texts, zero_stage=zero_stage, offload_optimizer=True)
    for name in expected:
        np.testing.assert_allclose(actual[name], expected[name], atol=1e-6, rtol=1e-5, err_msg=name)


@pytest.mark.parametrize("first", [False, True])
def test_a_checkpoint_can_be_loaded_with_the_optimizer_elsewhere(make_trainer, model_folder, texts, tmp_path, first):
    trainer = make_trainer(zero_stage=2, offload_optimizer=first)
    trainer.load(str(model_folder), OptimizerSettings(lr=1e-2), 10)
    sft_step(trainer, texts, np.arange(4))
    trainer.save_state(tmp_path / "state")
    expected = sft_step(trainer, texts, np.arange(4))
    other = make_trainer(zero_stage=2, offload_optimizer=not first)
    other.load(ModelSpec(str(model_folder), initialise=True), OptimizerSettings(lr=1e-2), 10)
    other.load_state(tmp_path / "state")
    assert sft_step(other, texts, np.arange(4)).grad_norm == pytest.approx(expected.grad_norm, rel=1e-5)


@pytest.mark.slow
def test_compiled_norms_and_mlps_take_the_same_steps(make_trainer, model_folder, texts):
    expected = trained(make_trainer, model_folder, texts, zero_stage=2)
    actual = trained(make_trainer, model_folder, texts, zero_stage=2, torch_compile=True)
    for name in expected:
        np.testing.assert_allclose(actual[name], expected[name], atol=1e-4, rtol=1e-3, err_msg=name)


def test_norms_and_mlps_are_found_by_name(model_folder):
    import torch

    model = load_model(ModelSpec(str(model_folder)), torch.float32, torch.device("cpu"), Chunking(4, 2**20))
    assert compile_parts(model.model) == 2 * 5 + 1


def test_liger_kernels_that_are_not_installed_name_the_remedy(monkeypatch):
    monkeypatch.setitem(sys.modules, "liger_kernel", None)
    with pytest.raises(KernelError, match="pip install liger-kernel"):
        require_liger()


def test_liger_kernels_are_refused_on_the_cpu(model_folder, monkeypatch):
    import torch

    model = load_model(ModelSpec(str(model_folder)), torch.float32, torch.device("cpu"), Chunking(4, 2**20))
    monkeypatch.setattr("actors.learner.kernels.require_liger", lambda: None)
    with pytest.raises(KernelError, match="for GPUs, and the learner runs on cpu"):
        use_liger(model.model)
