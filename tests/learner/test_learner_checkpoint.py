"""What a learner writes loads elsewhere, and a resumed learner goes on as if it had not stopped."""

import numpy as np
import pytest
import torch

from actors.learner.batches import TokenSequences
from actors.learner.checkpoint import CheckpointError
from actors.learner.model import ModelSpec
from actors.learner.sft import sft_step, sft_steps
from actors.settings import OptimizerSettings

OPTIMIZER = OptimizerSettings(lr=1e-2, schedule="linear")


@pytest.fixture
def texts() -> TokenSequences:
    tokens = np.random.default_rng(3).integers(0, 64, 40).astype(np.int32)
    return TokenSequences(tokens, np.arange(0, 41, 10), np.ones(40, np.bool_))


@pytest.mark.parametrize("zero_stage", [0, 3])
def test_an_export_has_the_trained_logits_in_transformers(make_trainer, model_folder, texts, tmp_path, zero_stage):
    from transformers import AutoModelForCausalLM

    trainer = make_trainer(zero_stage=zero_stage)
    trainer.load(str(model_folder), OPTIMIZER, 10)
    sft_step(trainer, texts, np.arange(4))
    trainer.export(tmp_path / "export")
    packed = trainer.pack(texts, np.asarray([1]))
    with torch.no_grad():
        _, logprobs, _ = trainer.engine(packed, 1.0)
        logits = AutoModelForCausalLM.from_pretrained(tmp_path / "export")(packed.input_ids).logits[0, :-1]
    torch.testing.assert_close(
        logits.log_softmax(-1).gather(1, packed.targets[:, None])[:, 0], logprobs, atol=1e-5, rtol=1e-5
    )


def test_an_export_replaces_the_one_before(make_trainer, model_folder, tmp_path):
    trainer = make_trainer()
    trainer.load(str(model_folder), OPTIMIZER, 10)
    trainer.export(tmp_path / "export")
    trainer.export(tmp_path / "export")
    assert [path.name for path in tmp_path.iterdir()] == ["export"]


def test_weights_name_the_tied_head(make_trainer, model_folder):
    trainer = make_trainer()
    trainer.load(str(model_folder), OPTIMIZER, 10)
    weights = trainer.weights()
    assert np.array_equal(weights["lm_head.weight"], weights["model.embed_tokens.weight"])


@pytest.mark.parametrize(("zero_stage", "borrowed"), [(2, True), (3, False)])
def test_weights_that_are_not_copied_are_the_parameters_where_those_are_whole(
    make_trainer, model_folder, zero_stage, borrowed
):
    trainer = make_trainer(zero_stage=zero_stage)
    trainer.load(str(model_folder), OPTIMIZER, 10)
    copied, lent = trainer.weights(), trainer.weights(copy=False)
    assert all(np.array_equal(copied[name], lent[name]) for name in copied)
    with torch.no_grad():
        for parameter in trainer.engine.module.model.parameters():
            parameter.fill_(7)
    assert np.all(lent["model.norm.weight"] == 7) == borrowed
    assert not np.any(copied["model.norm.weight"] == 7)


def test_bfloat16_weights_travel_as_uint16(make_trainer, model_folder):
    trainer = make_trainer(dtype="bfloat16")
    trainer.load(str(model_folder), OPTIMIZER, 10)
    weights = trainer.weights()["model.norm.weight"]
    assert weights.dtype == np.uint16
    assert torch.equal(torch.from_numpy(weights).view(torch.bfloat16), torch.ones(32, dtype=torch.bfloat16))


@pytest.mark.parametrize("zero_stage", [0, 2, 3])
def test_a_resumed_learner_takes_the_same_steps(make_trainer, model_folder, texts, tmp_path, zero_stage):
    trainer = make_trainer(zero_stage=zero_stage)
    trainer.load(str(model_folder), OPTIMIZER, 10)
    sft_steps(trainer, texts, [np.arange(4)] * 2)
    trainer.save_state(tmp_path / "state")
    expected = sft_step(trainer, texts, np.arange(4))
    trainer.load(ModelSpec(str(model_folder), initialise=True), OPTIMIZER, 10, seed=9)
    trainer.load_state(tmp_path / "state")
    resumed = sft_step(trainer, texts, np.arange(4))
    assert trainer.steps_taken == 3
    assert (resumed.loss, resumed.lr, resumed.grad_norm) == (expected.loss, expected.lr, expected.grad_norm)


def test_a_state_of_another_zero_stage_is_refused_by_name(make_trainer, model_folder, tmp_path):
    trainer = make_trainer(zero_stage=0)
    trainer.load(str(model_folder), OPTIMIZER, 10)
    trainer.save_state(tmp_path / "state")
    other = make_trainer(zero_stage=2)
    other.load(str(model_folder), OPTIMIZER, 10)
    with pytest.raises(CheckpointError, match="zero_stage 0, this learner has zero_stage 2"):
        other.load_state(tmp_path / "state")


def test_a_folder_without_a_state_is_refused(make_trainer, model_folder, tmp_path):
    trainer = make_trainer()
    trainer.load(str(model_folder), OPTIMIZER, 10)
    with pytest.raises(CheckpointError, match="holds no learner state"):
        trainer.load_state(tmp_path)


class Runs:
    """Unpickled, it makes a file."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return open, (self.path, "w")


@pytest.fixture
def saved(make_trainer, model_folder, texts, tmp_path):
    """A trainer with ZeRO stage 2, and the folder of its state."""
    trainer = make_trainer(zero_stage=2)
    trainer.load(str(model_folder), OPTIMIZER, 10)
    sft_steps(trainer, texts, [np.arange(4)])
    trainer.save_state(tmp_path / "state")
    return trainer, tmp_path / "state"


@pytest.mark.parametrize("part", ["model_states", "optim_states"])
def test_code_in_a_state_is_refused_and_does_not_run(saved, tmp_path, part):
    trainer, state = saved
    (file,) = state.rglob(f"*{part}.pt")
    content = torch.load(file, weights_only=False)
    torch.save({**content, "more": Runs(tmp_path / "ran")}, file)
    with pytest.raises(CheckpointError, match=r"state cannot be loaded: it is damaged, or of another model .*Move"):
        trainer.load_state(state)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("share", [0.0, 0.5, 0.99])
def test_a_state_that_is_cut_off_is_refused(saved, share):
    trainer, state = saved
    for file in state.rglob("*.pt"):
        file.write_bytes(file.read_bytes()[: int(share * file.stat().st_size)])
    with pytest.raises(CheckpointError, match="cannot be loaded"):
        trainer.load_state(state)


def test_a_state_of_another_model_is_refused(saved, make_trainer, model_folder, tmp_path):
    from transformers import Qwen3Config, Qwen3ForCausalLM

    _, state = saved
    config = Qwen3Config.from_pretrained(model_folder, hidden_size=16)
    Qwen3ForCausalLM(config).save_pretrained(tmp_path / "narrower")
    other = make_trainer(zero_stage=2)
    other.load(str(tmp_path / "narrower"), OPTIMIZER, 10)
    with pytest.raises(CheckpointError, match="of another model"):
        other.load_state(state)
