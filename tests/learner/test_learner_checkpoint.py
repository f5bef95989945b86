"""What a learner writes loads elsewhere, and a resumed learner goes on as if it had not stopped."""

import numpy as np
import pytest
import torch

from actors.learner.batches import TokenSequences
from actors.learner.checkpoint import CheckpointError
from actors.learner.model import ModelSpec
from actors.learner.sft import sft_step, sft_steps
from actors.settings import OptimizerSettings
from tests.learner.states import read_state

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


@pytest.mark.parametrize(
    ("was", "now"),
    [
        ((0, "float32"), (2, "float32")),
        ((0, "float32"), (0, "bfloat16")),
        ((1, "float32"), (3, "bfloat16")),
        ((2, "float32"), (0, "float32")),
        ((2, "bfloat16"), (3, "float32")),
        ((1, "bfloat16"), (2, "float32")),
        ((3, "float32"), (1, "bfloat16")),
        ((3, "float32"), (1, "float32")),
        ((3, "bfloat16"), (2, "bfloat16")),
    ],
)
def test_a_state_is_loaded_with_any_zero_stage_and_dtype(make_trainer, model_folder, texts, tmp_path, was, now):
    first = make_trainer(zero_stage=was[0], dtype=was[1])
    first.load(str(model_folder), OPTIMIZER, 10)
    sft_steps(first, texts, [np.arange(4)] * 2)
    first.save_state(tmp_path / "state")
    other = make_trainer(zero_stage=now[0], dtype=now[1])
    other.load(ModelSpec(str(model_folder), initialise=True), OPTIMIZER, 10, seed=9)
    other.load_state(tmp_path / "state")
    assert other.steps_taken == 2
    other.save_state(tmp_path / "again")
    before, after = read_state(tmp_path / "state"), read_state(tmp_path / "again")
    assert before.keys() == after.keys() and all(torch.equal(before[name], after[name]) for name in before)
    assert (tmp_path / "state/state.json").read_text() == (tmp_path / "again/state.json").read_text()
    rows = [np.arange(4)]
    (expected,), (found,) = sft_steps(first, texts, rows), sft_steps(other, texts, rows)
    exact = was[1] == now[1] == "float32"
    assert found.loss == pytest.approx(expected.loss, rel=1e-5 if exact else 0.02)
    first.save_state(tmp_path / "first")
    other.save_state(tmp_path / "other")
    ends, others = read_state(tmp_path / "first"), read_state(tmp_path / "other")
    for name, end in ends.items():
        step = float((end - before[name]).abs().mean())
        assert float((others[name] - end).abs().mean()) <= (1e-3 if exact else 0.2) * step, name


def test_a_state_from_before_the_first_step_is_loaded(make_trainer, model_folder, texts, tmp_path):
    trainer = make_trainer(zero_stage=2)
    trainer.load(str(model_folder), OPTIMIZER, 10)
    trainer.save_state(tmp_path / "state")
    expected = sft_step(trainer, texts, np.arange(4))
    other = make_trainer(zero_stage=3)
    other.load(ModelSpec(str(model_folder), initialise=True), OPTIMIZER, 10, seed=9)
    other.load_state(tmp_path / "state")
    found = sft_step(other, texts, np.arange(4))
    assert found.loss == pytest.approx(expected.loss, rel=1e-5)


def test_a_folder_without_a_state_is_refused(make_trainer, model_folder, tmp_path):
    trainer = make_trainer()
    trainer.load(str(model_folder), OPTIMIZER, 10)
    with pytest.raises(CheckpointError, match="holds no learner state"):
        trainer.load_state(tmp_path)
    (tmp_path / "layout.json").touch()
    with pytest.raises(CheckpointError, match="is of an earlier version"):
        trainer.load_state(tmp_path)


@pytest.fixture
def saved(make_trainer, model_folder, texts, tmp_path):
    """A trainer with ZeRO stage 2, and the folder of its state."""
    trainer = make_trainer(zero_stage=2)
    trainer.load(str(model_folder), OPTIMIZER, 10)
    sft_steps(trainer, texts, [np.arange(4)])
    trainer.save_state(tmp_path / "state")
    return trainer, tmp_path / "state"


def test_a_state_is_safetensors_and_json(saved):
    _, state = saved
    assert {file.suffix for file in state.rglob("*")} == {".safetensors", ".json"}


def test_a_state_that_lacks_a_file_is_refused(saved):
    trainer, state = saved
    for file in state.glob("*.safetensors"):
        file.unlink()
    with pytest.raises(CheckpointError, match=r"damaged \(the first 0 of \d+ numbers of weight of"):
        trainer.load_state(state)


@pytest.mark.parametrize("share", [0.0, 0.5, 0.99])
def test_a_state_that_is_cut_off_is_refused(saved, share):
    trainer, state = saved
    for file in state.glob("*.safetensors"):
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
    with pytest.raises(
        CheckpointError,
        match=r"is of another model: its model.embed_tokens.weight is \[64, 32\], and this model's is \[64, 16\]",
    ):
        other.load_state(state)
