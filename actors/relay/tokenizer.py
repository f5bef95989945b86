"""What relay decoding needs of a tokenizer, and the adapter that makes one of a transformers tokenizer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

_LETTERS = ("a", "1", "0", "x", ".", "e")
_PROBES = ("{0}", " {0}", "{0} {0}", "{0}  {0}", "{0}\n\n{0}")
_ANCHORS = ("\x02", "\n", "\x03", ".", "|")


class Tokenizer(Protocol):
    """Text to token ids and back, as in the middle of a text: what one id decodes to does not depend on its neighbours.

    Only an id that holds part of a character decodes to U+FFFD by itself. A tokenizer that knows `<call>` as one token
    must have it as a plain added token: special ones are skipped in text.
    """

    @property
    def eos_token_id(self) -> int: ...

    def encode(self, text: str) -> list[int]:
        """Token ids of the text alone: no special tokens, also where the text names one, and no space before it."""
        ...

    def decode(self, ids: Sequence[int]) -> str:
        """Text of the ids, special tokens skipped, a leading space kept."""
        ...


class PretrainedTokenizer(Protocol):
    """The part of a transformers tokenizer that is used here."""

    name_or_path: str

    @property
    def eos_token_id(self) -> int | None: ...

    @property
    def unk_token_id(self) -> int | None: ...

    def encode(self, text: str, *, add_special_tokens: bool, split_special_tokens: bool) -> list[int]: ...

    def decode(self, token_ids: list[int], *, skip_special_tokens: bool, clean_up_tokenization_spaces: bool) -> str: ...


class TokenizerError(ValueError):
    """A tokenizer that relay decoding cannot use; the message names it."""


class TransformersTokenizer:
    """A transformers tokenizer as a `Tokenizer`.

    Tokenizers of the Llama-2, Mistral and Phi-3 kind put a space before a text and take one off what they decode. So text
    is encoded after an anchor, whose ids are taken off, and ids are decoded after one, whose text is taken off.
    Raises `TokenizerError` if the tokenizer has no end-of-text token, or does not give back the text that it is given.
    """

    def __init__(self, tokenizer: PretrainedTokenizer) -> None:
        if tokenizer.eos_token_id is None:
            raise TokenizerError(f"{_name(tokenizer)} has no eos_token: set one, or answers could never end")
        self._tokenizer = tokenizer
        self._eos_token_id = tokenizer.eos_token_id
        self._letter_ids: list[int] = []
        """what ids are decoded after: those of `_letter`"""
        self._letter = ""
        self._anchors: dict[str, list[int]] = {}
        """texts that a text may be encoded after, with their ids; none if nothing is put before a text"""
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
                    f"{_name(self._tokenizer)} does not give back text as it was: {probe!r} comes back as {found!r}; relay "
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
