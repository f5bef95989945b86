"""What relay decoding needs of a tokenizer, and the adapter that makes one of a transformers tokenizer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol


class Tokenizer(Protocol):
    """Text to token ids and back. Byte-level: what one id decodes to does not depend on its neighbours.

    A tokenizer that knows `<call>` as one token must have it as a plain added token: special ones are skipped in text.
    """

    @property
    def eos_token_id(self) -> int: ...

    def encode(self, text: str) -> list[int]:
        """Token ids of the text alone: no special tokens are added."""
        ...

    def decode(self, ids: Sequence[int]) -> str:
        """Text of the ids, special tokens skipped."""
        ...


class _PretrainedTokenizer(Protocol):
    @property
    def eos_token_id(self) -> int | None: ...

    def encode(self, text: str, *, add_special_tokens: bool) -> list[int]: ...

    def decode(self, token_ids: list[int], *, skip_special_tokens: bool, clean_up_tokenization_spaces: bool) -> str: ...


class TransformersTokenizer:
    """A transformers tokenizer as a `Tokenizer`; raises ValueError if it has no end-of-text token."""

    def __init__(self, tokenizer: _PretrainedTokenizer) -> None:
        if tokenizer.eos_token_id is None:
            raise ValueError("the tokenizer has no eos_token: set one, or answers could never end")
        self._tokenizer = tokenizer
        self._eos_token_id = tokenizer.eos_token_id

    @property
    def eos_token_id(self) -> int:
        return self._eos_token_id

    def encode(self, text: str) -> list[int]:
        return self._tokenizer.encode(text, add_special_tokens=False)

    def decode(self, ids: Sequence[int]) -> str:
        return self._tokenizer.decode(list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False)
