"""A KV cache with one slot per sequence. Sequences may differ in length, and any subset can go through a forward pass."""

from __future__ import annotations

import torch
from torch import Tensor


class SlotCache:
    """Keys and values of up to `slots` sequences, behind the interface of a transformers cache.

    A token is stored in the column of its position. Padding comes last in a row, so later tokens overwrite it. The
    cache grows with the longest sequence.
    """

    def __init__(self, slots: int) -> None:
        self._slots = slots
        self._keys: list[Tensor] = []
        self._values: list[Tensor] = []
        self._rows: Tensor = torch.empty(0, dtype=torch.long)
        self._positions: Tensor = torch.empty(0, 0, dtype=torch.long)
        self._columns = 0

    def aim(self, rows: Tensor, positions: Tensor) -> Tensor:
        """Set where the next forward pass writes: its slots `rows` [b] and `positions` [b, t].

        Returns the attention mask [b, 1, t, c], true where a token may attend, for the c columns in use.
        """
        self._rows, self._positions = rows, positions
        self._columns = int(positions.max()) + 1
        columns = torch.arange(self._columns, device=positions.device)
        return (columns <= positions[:, :, None])[:, None]

    def update(
        self,
        keys: Tensor,
        values: Tensor,
        layer: int,
        *_: object,
        **__: object,
    ) -> tuple[Tensor, Tensor]:
        """Store a layer's new keys and values [b, heads, t, d].

        Returns all keys and values of the sequences that `aim` named: [b, heads, c, d], for the c columns in use.
        """
        if layer == len(self._keys):
            self._keys.append(keys.new_zeros(self._slots, keys.shape[1], 0, keys.shape[3]))
            self._values.append(values.new_zeros(self._slots, values.shape[1], 0, values.shape[3]))
        self._keys[layer] = self._stored(self._keys[layer], keys)
        self._values[layer] = self._stored(self._values[layer], values)
        every = slice(None), slice(self._columns)
        return self._keys[layer][self._rows, *every], self._values[layer][self._rows, *every]

    def _stored(self, store: Tensor, states: Tensor) -> Tensor:
        if store.shape[2] < self._columns:
            columns = max(self._columns, 2 * store.shape[2])
            grown = store.new_zeros(*store.shape[:2], columns, store.shape[3])
            grown[:, :, : store.shape[2]] = store
            store = grown
        store[self._rows[:, None], :, self._positions] = states.transpose(1, 2)
        return store
