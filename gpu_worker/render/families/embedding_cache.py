"""Prompts that were encoded already: variations of a picture and repeated jobs needn't run the text encoders again.

Owns the bytes that it keeps and their order. Leaves what decides an embedding, the key, to whoever asks.
"""

from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping
from typing import TypeAlias

import torch

Embeddings: TypeAlias = Mapping[str, "torch.Tensor | list[torch.Tensor] | None"]
"""Arguments of a diffusers pipeline that stand for a prompt."""


class EmbeddingCache:
    """Embeddings by key, the least recently used dropped beyond `budget_bytes`. For one thread."""

    def __init__(self, budget_bytes: int) -> None:
        """Creates an empty cache."""
        self._budget_bytes = budget_bytes
        self._kept: OrderedDict[Hashable, tuple[Embeddings, int]] = OrderedDict()
        self._size_bytes = 0

    @property
    def size_bytes(self) -> int:
        """Bytes of all the embeddings kept."""
        return self._size_bytes

    def get(self, key: Hashable, encode: Callable[[], Embeddings]) -> Embeddings:
        """Returns what was kept under the key, or else encodes and keeps it unless it is larger than the budget."""
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key][0]
        embeddings = encode()
        size_bytes = _size_bytes(embeddings)
        if size_bytes <= self._budget_bytes:
            self._kept[key] = (embeddings, size_bytes)
            self._size_bytes += size_bytes
            self._evict()
        return embeddings

    def clear(self) -> None:
        """Drops everything."""
        self._kept.clear()
        self._size_bytes = 0

    def _evict(self) -> None:
        while self._size_bytes > self._budget_bytes:
            _, (_, size_bytes) = self._kept.popitem(last=False)
            self._size_bytes -= size_bytes


def _size_bytes(embeddings: Embeddings) -> int:
    tensors = [
        tensor for value in embeddings.values() for tensor in ([value] if torch.is_tensor(value) else value or [])
    ]
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)
