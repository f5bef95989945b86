"""Packed rows through the model equal each row through transformers by itself."""

import numpy as np
import pytest
import torch

from actors.learner.batches import TokenSequences
from actors.learner.model import IncompleteModelError, ModelSpec, load_model
from actors.learner.packing import pack

CPU = torch.device("cpu")
LENGTHS = [5, 1, 9, 2, 9]


@pytest.fixture
def batch() -> TokenSequences:
    offsets = np.concatenate([[0], np.cumsum(LENGTHS)]).astype(np.int64)
    tokens = np.random.default_rng(0).integers(0, 64, offsets[-1]).astype(np.int32)
    return TokenSequences(tokens, offsets, np.ones(offsets[-1], np.bool_))


def separate_logprobs(folder, batch: TokenSequences, row: int) -> torch.Tensor:
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager")
    ids = torch.from_numpy(batch.token_ids[batch.offsets[row] : batch.offsets[row + 1]].astype(np.int64))[None]
    return model(ids).logits[0, :-1].log_softmax(-1).gather(1, ids[0, 1:, None])[:, 0]


def test_packed_logprobs_equal_those_of_separate_rows(model_folder, batch):
    model = load_model(ModelSpec(str(model_folder)), torch.float32, CPU, chunk_tokens=4)
    packed = pack(batch, np.arange(5), CPU)
    logprobs, _ = model(packed, 1.0)
    for row in range(5):
        torch.testing.assert_close(
            logprobs[packed.target_rows == row], separate_logprobs(model_folder, batch, row), atol=1e-5, rtol=1e-5
        )


def test_a_row_sees_nothing_of_its_neighbours(model_folder, batch):
    model = load_model(ModelSpec(str(model_folder)), torch.float32, CPU, chunk_tokens=4)
    packed = pack(batch, np.arange(5), CPU)
    before, _ = model(packed, 1.0)
    packed.input_ids[0, :5] = 0
    after, _ = model(packed, 1.0)
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
    load_model(ModelSpec(str(model_folder)), torch.float32, CPU, 4)(pack(batch, np.arange(5), CPU), 1.0)
    assert masks == [None, None]


def test_a_folder_without_all_weights_is_refused(model_folder, tmp_path):
    from safetensors.torch import load_file, save_file

    (tmp_path / "config.json").write_bytes((model_folder / "config.json").read_bytes())
    weights = load_file(model_folder / "model.safetensors")
    del weights["model.norm.weight"]
    save_file(weights, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(IncompleteModelError, match=r"model\.norm\.weight"):
        load_model(ModelSpec(str(tmp_path)), torch.float32, CPU, 4)
