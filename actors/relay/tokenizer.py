"""The tokenizer interface of relay decoding, and its adapter for transformers tokenizers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

_LETTERS = ("a", "1", "0", "x", ".", "e")
_PROBES = ("{0}", " {0}", "{0} {0}", "{0}  {0}", "{0}\n\n{0}")
_ANCHORS = ("\x02", "\n", "\x03", ".", "|")


class Tokenizer(Protocol):
    """Converts text to token ids and back, always as in the middle of a text. An id's text does not depend on its neighbours.

    Only an id that holds part of a character decodes to U+FFFD by itself. If `<call>` is one token, it must be a plain added
    token, because decoding skips special tokens.
    """

    @property
    def eos_token_id(self) -> int: ...

    def encode(self, text: str) -> list[int]:
        """Return the token ids of the text. No space is put before it, and no special token is used, even if the text names one."""
        ...

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of the ids, without special tokens. A leading space is kept."""
        ...


class PretrainedTokenizer(Protocol):
    """The parts of a transformers tokenizer that this module uses."""

    name_or_path: str

    @property
    def eos_token_id(self) -> int | None: ...

    @property
    def unk_token_id(self) -> int | None: ...

    def encode(self, text: str, *, add_special_tokens: bool, split_special_tokens: bool) -> list[int]: ...

    def decode(self, token_ids: list[int], *, skip_special_tokens: bool, clean_up_tokenization_spaces: bool) -> str: ...


class TokenizerError(ValueError):
    """Relay decoding cannot use a tokenizer; the message names it and says why."""


class TransformersTokenizer:
    """A transformers tokenizer as a `Tokenizer`.

    Tokenizers like those of Llama 2, Mistral and Phi-3 put a space before a text, and remove one when they decode. To avoid
    this, text is encoded after an anchor text, whose ids are then removed. Ids are decoded after an anchor too, whose text is
    then removed.

    Raises `TokenizerError` if the tokenizer has no end-of-text token, or if decoding does not restore an encoded text.
    """

    def __init__(self, tokenizer: PretrainedTokenizer) -> None:
        if tokenizer.eos_token_id is None:
            raise TokenizerError(f"{_name(tokenizer)} has no eos_token: set one, or answers could never end")
        self._tokenizer = tokenizer
        self._eos_token_id = tokenizer.eos_token_id
        self._letter_ids: list[int] = []
        """ids of `_letter`, the anchor that ids are decoded after"""
        self._letter = ""
        self._anchors: dict[str, list[int]] = {}
        """anchors that text is encoded after, with their ids; empty if the tokenizer puts no space before a text"""
        known = (letter for letter in _LETTERS if self._knows(self._encode(letter)))
        letter = next(known, None)
        if letter is not None:
            self._anchor(letter)
            self._check(letter)

    @property
    def eos_token_id(self) -> int:
        return self._eos_token_id

    def encode(self, text: str) -> list[int]:
        if not self._anchors:
            return self._encode(text)
        for anchor, ids in self._anchors.items():
            both = self._encode(anchor + text)
            if both[: len(ids)] == ids:
                return both[len(ids) :]
        raise TokenizerError(f"{_name(self._tokenizer)} merges every anchor with the text that follows: {text[:80]!r}")

    def decode(self, ids: Sequence[int]) -> str:
        return self._decode([*self._letter_ids, *ids])[len(self._letter) :]

    def _anchor(self, letter: str) -> None:
        ids = self._encode(letter)
        self._letter_ids, self._letter = ids, self._decode(ids)
        if self.decode(ids) != letter:
            self._anchors = {anchor: self._encode(anchor) for anchor in _ANCHORS}

    def _check(self, letter: str) -> None:
        for probe in (probe.format(letter) for probe in _PROBES):
            ids = self.encode(probe)
            if self._knows(ids) and (found := self.decode(ids)) != probe:
                raise TokenizerError(
                    f"{_name(self._tokenizer)} does not restore text: {probe!r} comes back as {found!r}; relay "
                    "decoding needs a tokenizer that keeps all text, as byte-level BPE and SentencePiece with bytes do"
                )

    def _knows(self, ids: Sequence[int]) -> bool:
        return bool(ids) and self._tokenizer.unk_token_id not in ids

    def _encode(self, text: str) -> list[int]:
        return self._tokenizer.encode(text, add_special_tokens=False, split_special_tokens=True)

    def _decode(self, ids: list[int]) -> str:
        return self._tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)


def _name(tokenizer: PretrainedTokenizer) -> str:
    return f"the tokenizer of {tokenizer.name_or_path}" if tokenizer.name_or_path else "the tokenizer"
