"""The cache of encoded prompts: asked once, dropped by age, bounded in bytes."""

import torch

from gpu_worker.render.families.embedding_cache import EmbeddingCache, Embeddings


def embeddings(floats: int) -> Embeddings:
    return {"prompt_embeds": torch.zeros(floats), "negative_prompt_embeds": None}


def refuse() -> Embeddings:
    raise AssertionError("encoded again")


def test_embeddings_are_encoded_once() -> None:
    cache = EmbeddingCache(100)
    first = cache.get("fox", lambda: embeddings(10))
    assert cache.get("fox", refuse) is first
    assert cache.size_bytes == 40


def test_lists_of_tensors_count_with_all_their_bytes() -> None:
    cache = EmbeddingCache(100)
    cache.get("fox", lambda: {"prompt_embeds": [torch.zeros(3), torch.zeros(4)]})
    assert cache.size_bytes == 28


def test_least_recently_used_leaves_first() -> None:
    cache = EmbeddingCache(100)
    cache.get("a", lambda: embeddings(10))
    cache.get("b", lambda: embeddings(10))
    cache.get("a", refuse)
    cache.get("c", lambda: embeddings(10))
    cache.get("a", refuse)
    cache.get("c", refuse)
    encoded: list[str] = []
    cache.get("b", lambda: (encoded.append("b"), embeddings(10))[1])
    assert encoded == ["b"]
    assert cache.size_bytes == 80


def test_what_is_larger_than_the_budget_is_not_kept() -> None:
    cache = EmbeddingCache(100)
    cache.get("a", lambda: embeddings(10))
    cache.get("huge", lambda: embeddings(1000))
    cache.get("a", refuse)
    assert cache.size_bytes == 40


def test_cleared_cache_is_empty() -> None:
    cache = EmbeddingCache(100)
    cache.get("a", lambda: embeddings(10))
    cache.clear()
    assert cache.size_bytes == 0
