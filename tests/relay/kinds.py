"""Small tokenizers of the kinds that real models have, trained on a few lines."""

from __future__ import annotations

import json
from collections.abc import Callable

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from actors.relay.tokenizer import TransformersTokenizer

_LINES = ["the sum of 40 and 2 is 42, so call the teacher: x<y and a </b>  two\n"] * 20
_BYTES = [f"<0x{byte:02X}>" for byte in range(256)]


def pretrained(inner: Tokenizer, trainer: trainers.BpeTrainer, end: str) -> PreTrainedTokenizerFast:
    inner.train_from_iterator(_LINES, trainer)
    description = json.loads(inner.to_str())
    # The trainer takes bytes as special tokens only; in real tokenizers they are ordinary ones.
    description["added_tokens"] = [token for token in description["added_tokens"] if token["content"] not in _BYTES]
    inner = Tokenizer.from_str(json.dumps(description))
    return PreTrainedTokenizerFast(tokenizer_object=inner, eos_token=end)


def llama() -> PreTrainedTokenizerFast:
    """As Llama-2, Mistral-7B and Phi-3: a space before every text, bytes for unknown characters."""
    inner = Tokenizer(models.BPE(byte_fallback=True))
    inner.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    inner.decoder = _sentencepiece_decoder()
    return pretrained(inner, _sentencepiece_trainer(), "</s>")


def metaspace(scheme: str) -> PreTrainedTokenizerFast:
    """As Llama-2 and Mistral in newer files: the space comes from the pre-tokenizer."""
    inner = Tokenizer(models.BPE(byte_fallback=True))
    inner.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=scheme, split=False)
    inner.decoder = _sentencepiece_decoder()
    return pretrained(inner, _sentencepiece_trainer(), "</s>")


def byte_level(prefix_space: bool = False) -> PreTrainedTokenizerFast:
    """As GPT-2, Qwen and Llama-3."""
    inner = Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=prefix_space)
    inner.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=330, special_tokens=["<|end|>"], initial_alphabet=alphabet, show_progress=False
    )
    return pretrained(inner, trainer, "<|end|>")


KINDS: dict[str, Callable[[], PreTrainedTokenizerFast]] = {
    "llama": llama,
    "metaspace always": lambda: metaspace("always"),
    "metaspace first": lambda: metaspace("first"),
    "byte level": byte_level,
    "byte level with a space before": lambda: byte_level(prefix_space=True),
}


def of_kind(kind: str) -> TransformersTokenizer:
    return TransformersTokenizer(KINDS[kind]())


def _sentencepiece_decoder() -> decoders.Decoder:
    return decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )


def _sentencepiece_trainer() -> trainers.BpeTrainer:
    return trainers.BpeTrainer(vocab_size=400, special_tokens=["<s>", "</s>", *_BYTES], show_progress=False)
