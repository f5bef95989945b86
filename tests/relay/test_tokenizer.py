"""The adapter of transformers tokenizers."""

import pytest

from actors.relay.tokenizer import TransformersTokenizer


def pretrained(eos: str | None = "<eos>"):
    tokenizers = pytest.importorskip("tokenizers")
    transformers = pytest.importorskip("transformers")
    model = tokenizers.models.WordLevel({"<unk>": 0, "<eos>": 1, "ab": 2, "!": 3}, unk_token="<unk>")
    inner = tokenizers.Tokenizer(model)
    inner.pre_tokenizer = tokenizers.pre_tokenizers.Punctuation()
    inner.decoder = tokenizers.decoders.Fuse()
    inner.post_processor = tokenizers.processors.TemplateProcessing(single="$A <eos>", special_tokens=[("<eos>", 1)])
    return transformers.PreTrainedTokenizerFast(tokenizer_object=inner, eos_token=eos, unk_token="<unk>")


def test_encoding_adds_no_special_tokens() -> None:
    assert TransformersTokenizer(pretrained()).encode("ab!") == [2, 3]


def test_decoding_skips_special_tokens_and_leaves_spaces_alone() -> None:
    assert TransformersTokenizer(pretrained()).decode([2, 3, 1]) == "ab!"


def test_end_of_text_is_the_tokenizers_own() -> None:
    assert TransformersTokenizer(pretrained()).eos_token_id == 1


def test_a_tokenizer_without_end_of_text_is_refused() -> None:
    with pytest.raises(ValueError, match="eos_token"):
        TransformersTokenizer(pretrained(eos=None))
