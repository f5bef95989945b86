"""The adapter of transformers tokenizers."""

import pytest

from actors.relay.tokenizer import TokenizerError, TransformersTokenizer
from tests.relay.kinds import KINDS, byte_level, of_kind


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
    with pytest.raises(TokenizerError, match="eos_token"):
        TransformersTokenizer(pretrained(eos=None))


@pytest.mark.parametrize("kind", sorted(KINDS))
@pytest.mark.parametrize("text", [" a", "a", "  a b ", "\n\n x", "x<call>12</call> y", "", "答 🙂"])
def test_text_comes_back_as_it_was(kind: str, text: str) -> None:
    tokenizer = of_kind(kind)
    assert tokenizer.decode(tokenizer.encode(text)) == text


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_text_that_names_a_special_token_is_text(kind: str) -> None:
    tokenizer = of_kind(kind)
    pretrained_one = KINDS[kind]()
    ids = tokenizer.encode(f"a{pretrained_one.eos_token}b")
    assert tokenizer.eos_token_id not in ids
    assert tokenizer.decode(ids) == f"a{pretrained_one.eos_token}b"


def test_a_tokenizer_that_loses_white_space_is_refused_by_name() -> None:
    tokenizers = pytest.importorskip("tokenizers")
    loses = byte_level()
    loses.backend_tokenizer.normalizer = tokenizers.normalizers.Replace(tokenizers.Regex(" +"), " ")
    loses.name_or_path = "models/lossy"
    with pytest.raises(TokenizerError, match=r"the tokenizer of models/lossy .* 'a  a' comes back as 'a a'"):
        TransformersTokenizer(loses)
