"""Packed rows through the model equal each row through transformers by itself."""

import numpy as np
import pytest
import torch

from actors.learner.batches import TokenSequences
from actors.learner.errors import IncompleteModelError
from actors.learner.logprobs import Chunking
from actors.learner.model import ModelSpec, load_model
from actors.learner.packing import pack

CPU = torch.device("cpu")
CHUNKING = Chunking(tokens=4, logits_bytes=2**20)
LENGTHS = [5, 1, 9, 2, 9]


@pytest.fixture
def batch() -> TokenSequences:
    offsets = np.concatenate([[0], np.cumsum(LENGTHS)]).astype(np.int64)
    tokens = np.random.default_rng(0).integers(0, 64, offsets[-1]).astype(np.int32)
    return TokenSequences(tokens, offsets, np.ones(offsets[-1], np.bool_))


def separate_logprobs(model, batch: TokenSequences, row: int) -> torch.Tensor:
    ids = torch.from_numpy(batch.token_ids[batch.offsets[row] : batch.offsets[row + 1]].astype(np.int64))[None]
    return model(ids).logits[0, :-1].log_softmax(-1).gather(1, ids[0, 1:, None])[:, 0]


def test_packed_logprobs_equal_those_of_separate_rows(model_folder, batch):
    from transformers import AutoModelForCausalLM

    model = load_model(ModelSpec(str(model_folder)), torch.float32, CPU, CHUNKING)
    separate = AutoModelForCausalLM.from_pretrained(model_folder, attn_implementation="eager")
    packed = pack(batch, np.arange(5), CPU)
    _, logprobs, _ = model(packed, 1.0)
    for row in range(5):
        expected = separate_logprobs(separate, batch, row).detach()
        torch.testing.assert_close(logprobs[packed.target_rows == row], expected, atol=1e-5, rtol=1e-5)


def test_gradients_of_packed_rows_equal_those_of_separate_rows(model_folder, batch):
    from transformers import AutoModelForCausalLM

    model = load_model(ModelSpec(str(model_folder)), torch.float32, CPU, CHUNKING)
    packed = pack(batch, np.arange(5), CPU)
    coefficients = torch.randn(len(packed.targets), generator=torch.Generator().manual_seed(1))
    loss, *_ = model(packed, 1.0, lambda logprobs, part: (logprobs * coefficients[part]).sum())
    loss.backward()
    separate = AutoModelForCausalLM.from_pretrained(model_folder, attn_implementation="eager")
    total = sum(
        separate_logprobs(separate, batch, row) @ coefficients[torch.from_numpy(packed.target_rows == row)]
        for row in range(5)
    )
    total.backward()
    expected = {name: parameter.grad for name, parameter in separate.named_parameters()}
    for name, parameter in model.model.named_parameters():
        scale = expected[name].abs().max().item()
        torch.testing.assert_close(parameter.grad, expected[name], atol=1e-5 * scale, rtol=1e-4)


def test_rows_are_padded_to_rows_of_similar_length_only(batch):
    packed = pack(batch, np.arange(5), CPU)
    assert packed.groups == ((2, 9), (1, 5), (1, 2), (1, 1))
    assert len(packed.padded_index) == sum(LENGTHS)


def test_a_row_sees_nothing_of_its_neighbours(model_folder, batch):
    model = load_model(ModelSpec(str(model_folder)), torch.float32, CPU, CHUNKING)
    packed = pack(batch, np.arange(5), CPU)
    _, before, _ = model(packed, 1.0)
    packed.input_ids[0, :5] = 0
    _, after, _ = model(packed, 1.0)
    torch.testing.assert_close(before[packed.target_rows != 0], after[packed.target_rows != 0])


def test_transformers_builds_no_mask(model_folder, batch, monkeypatch):
    import actors.learner.attention as attention

    masks = []
    sdpa = attention.functional.scaled_dot_product_attention
    monkeypatch.setattr(
        attention.functional,
        "scaled_dot_product_attention",
        lambda *args, **kwargs: masks.append(kwargs.get("attn_mask")) or sdpa(*args, **kwargs),
    )
    load_model(ModelSpec(str(model_folder)), torch.float32, CPU, CHUNKING)(pack(batch, np.arange(5), CPU), 1.0)
    assert set(masks) == {None}


def test_a_folder_without_all_weights_is_refused(model_folder, tmp_path):
    from safetensors.torch import load_file, save_file

    (tmp_path / "config.json").write_bytes((model_folder / "config.json").read_bytes())
    weights = load_file(model_folder / "model.safetensors")
    del weights["model.norm.weight"]
    save_file(weights, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(IncompleteModelError, match=r"model\.norm\.weight"):
        load_model(ModelSpec(str(tmp_path)), torch.float32, CPU, CHUNKING)
