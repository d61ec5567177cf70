"""Residency: who stays, who leaves, and that a failed load leaves the cache as it should be."""

from dataclasses import dataclass

import pytest

from gpu_worker.model_cache import ModelCache
from gpu_worker.model_files import ModelFile, ModelSpec


@dataclass(frozen=True, slots=True)
class Weightless:
    """A loaded model that takes no memory, but says so."""

    name: str
    size_bytes: int


class Loader:
    """Loads weightless models, counting, and remembering what was resident meanwhile."""

    def __init__(self) -> None:
        self.loads: list[str] = []
        self.resident_during_load: list[frozenset[str]] = []
        self.cache: ModelCache[Weightless] | None = None

    def __call__(self, spec: ModelSpec) -> Weightless:
        assert self.cache is not None
        self.loads.append(spec.model_id)
        self.resident_during_load.append(self.cache.loaded_models)
        if spec.family == "broken":
            raise OSError("disk")
        return Weightless(spec.model_id, sum(file.size_bytes for file in spec.files))


def model(model_id: str, size_bytes: int = 10, *, revision: str = "1", family: str = "tiny") -> ModelSpec:
    return ModelSpec(model_id, revision, family, (ModelFile("a.safetensors", size_bytes, ""),))


def cache_of(budget_bytes: int) -> tuple[ModelCache[Weightless], Loader]:
    loader = Loader()
    loader.cache = ModelCache(loader, budget_bytes)
    return loader.cache, loader


def test_model_is_loaded_once_when_it_is_used_again() -> None:
    cache, loader = cache_of(100)
    assert cache.get(model("a")) is cache.get(model("a"))
    assert loader.loads == ["a"]


def test_least_recently_used_model_leaves_when_room_is_needed() -> None:
    cache, _ = cache_of(20)
    for name in ("a", "b", "a", "c"):
        cache.get(model(name))
    assert cache.loaded_models == {"a", "c"}


def test_room_is_made_before_the_next_model_is_loaded() -> None:
    cache, loader = cache_of(20)
    for name in ("a", "b", "c"):
        cache.get(model(name))
    assert loader.resident_during_load == [set(), {"a"}, {"b"}]


def test_model_larger_than_the_budget_is_kept_alone() -> None:
    cache, _ = cache_of(20)
    cache.get(model("a"))
    cache.get(model("huge", 500))
    assert cache.loaded_models == {"huge"}


def test_revisions_of_one_model_are_different_models() -> None:
    cache, loader = cache_of(100)
    assert cache.get(model("a")) is not cache.get(model("a", revision="2"))
    assert loader.loads == ["a", "a"]
    assert cache.loaded_models == {"a"}


def test_failed_load_is_not_remembered_as_loaded() -> None:
    cache, loader = cache_of(100)
    cache.get(model("a"))
    for _ in range(2):
        with pytest.raises(OSError, match="disk"):
            cache.get(model("b", family="broken"))
    assert cache.loaded_models == {"a"}
    assert loader.loads == ["a", "b", "b"]


def test_clear_lets_go_of_everything() -> None:
    cache, _ = cache_of(100)
    cache.get(model("a"))
    cache.clear()
    assert cache.loaded_models == frozenset()
