"""At load the learner scores as the bare model does, or refuses the model."""

import json

import numpy as np
import pytest
import torch
import transformers

from actors.learner.batches import TokenSequences
from actors.learner.errors import UnsupportedModelError
from actors.learner.export import export_model, gather_weights
from actors.learner.logprobs import Chunking
from actors.learner.model import ModelSpec, check_model, load_model
from actors.learner.packing import pack

SMALL = {
    "vocab_size": 64,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 48,
    "max_position_embeddings": 128,
    "initializer_range": 0.3,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
GEMMA2 = {**SMALL, "head_dim": 8, "query_pre_attn_scalar": 8}
GPT2 = {"vocab_size": 64, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 128, "initializer_range": 0.3}
SUPPORTED = {
    "logits_scaling": lambda: transformers.GraniteConfig(**SMALL, logits_scaling=8.0, attention_multiplier=0.35),
    "logit_scale": lambda: transformers.CohereConfig(**SMALL, logit_scale=0.0625),
    "final soft-cap": lambda: transformers.Gemma2Config(
        **GEMMA2, final_logit_softcapping=1.0, attn_logit_softcapping=None, sliding_window=4
    ),
    "window": lambda: transformers.MistralConfig(**SMALL, sliding_window=5),
    "dropout": lambda: transformers.GPT2Config(**GPT2),
    "attention dropout": lambda: transformers.Qwen3Config(**SMALL, head_dim=8, attention_dropout=0.5),
}
CPU, CHUNKING = torch.device("cpu"), Chunking(7, 2**20)


def saved(config, folder):
    torch.manual_seed(0)
    model = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float32, attn_implementation="eager")
    model.save_pretrained(folder)
    return model.eval()


@pytest.fixture
def row() -> TokenSequences:
    tokens = np.random.default_rng(1).integers(3, 64, 30).astype(np.int32)
    return TokenSequences(tokens, np.asarray([0, 30]), np.ones(30, np.bool_))


@pytest.mark.parametrize("family", SUPPORTED)
def test_a_supported_family_trains_on_its_own_logprobs(family, tmp_path, row):
    model = saved(SUPPORTED[family](), tmp_path)
    packed = load_model(ModelSpec(str(tmp_path)), torch.float32, CPU, CHUNKING).train()
    rows = pack(row, np.asarray([0]), CPU)

    loss, logprobs, _ = packed(rows, 0.7, lambda logprobs, _: -logprobs.sum())
    loss.backward()

    ids = torch.from_numpy(row.token_ids.astype(np.int64))[None]
    expected = (model(ids).logits[0, :-1] / 0.7).log_softmax(-1).gather(1, ids[0, 1:, None])[:, 0]
    (-expected.sum()).backward()
    torch.testing.assert_close(logprobs, expected.detach(), atol=1e-4, rtol=1e-4)
    expected_gradients = {name: parameter.grad for name, parameter in model.named_parameters()}
    for name, parameter in packed.model.named_parameters():
        torch.testing.assert_close(parameter.grad, expected_gradients[name], atol=1e-3, rtol=1e-3, msg=name)


def test_a_head_that_does_more_than_is_known_is_refused_with_the_difference(tmp_path, monkeypatch):
    saved(transformers.GraniteConfig(**SMALL, logits_scaling=8.0), tmp_path)
    monkeypatch.setattr("actors.learner.model.head_settings", lambda config: (1.0, None))
    with pytest.raises(
        UnsupportedModelError, match=r"type 'granite' are not the model's own: .* differ by [0-9.]+ nats"
    ):
        check_model(str(tmp_path))


def test_a_model_that_the_learner_cannot_run_is_refused_by_its_type(tmp_path):
    saved(transformers.Gemma2Config(**GEMMA2, attn_logit_softcapping=5.0), tmp_path)
    with pytest.raises(UnsupportedModelError, match=r"type 'gemma2': .*attn_logit_softcapping 5"):
        check_model(str(tmp_path))


def test_randomness_in_training_mode_is_refused(tmp_path, monkeypatch):
    saved(transformers.GPT2Config(**GPT2), tmp_path)
    monkeypatch.setattr("actors.learner.model.drop_nothing", lambda model: None)
    with pytest.raises(UnsupportedModelError, match="type 'gpt2'"):
        check_model(str(tmp_path))


def test_a_tied_head_is_handed_out_whatever_the_embedding_is_called(tmp_path):
    saved(transformers.GPT2Config(**GPT2), tmp_path)
    weights = gather_weights(load_model(ModelSpec(str(tmp_path)), torch.float32, CPU, CHUNKING).model, keep=True)
    assert np.array_equal(weights["lm_head.weight"], weights["transformer.wte.weight"])


@pytest.mark.parametrize(
    "values",
    [
        {"temperature": 0.6, "top_p": 0.9},
        {"do_sample": False, "temperature": 0.0},
        {"do_sample": True, "temperature": 0.6, "eos_token_id": [1, 2]},
    ],
)
def test_a_generation_config_is_exported_with_its_values(values, model_folder, tmp_path):
    copy = tmp_path / "model"
    copy.mkdir()
    for file in model_folder.iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    (copy / "generation_config.json").write_text(json.dumps(values))
    packed = load_model(ModelSpec(str(copy)), torch.float32, CPU, CHUNKING)
    export_model(packed.model, tmp_path / "out", writer=True)
    written = json.loads((tmp_path / "out" / "generation_config.json").read_text())
    assert {key: value for key, value in written.items() if key != "transformers_version"} == values


@pytest.mark.parametrize("text", ["{", "[]"])
def test_a_generation_config_that_cannot_be_read_is_refused_at_load(text, model_folder, tmp_path):
    for file in model_folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "generation_config.json").write_text(text)
    with pytest.raises(UnsupportedModelError, match=r"generation_config\.json cannot be read"):
        check_model(str(tmp_path))
