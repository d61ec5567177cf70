"""Which models stay loaded: the least recently used leave when a new one needs their room.

Owns residency, counted in bytes. Leaves loading to the function it is given. Used from the pipeline's thread only, but
`loaded_models`, which the event loop reads for queue affinity.
"""

from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

from gpu_worker.model_files import ModelSpec


class Resident(Protocol):
    """A loaded model; the real one and a weightless one of the tests."""

    @property
    def size_bytes(self) -> int:
        """Bytes of device memory that the model's weights take."""


Loaded = TypeVar("Loaded", bound=Resident)


class ModelCache(Generic[Loaded]):
    """Loaded models by id and revision, at most `budget_bytes` of them together, but always the one in use."""

    def __init__(self, load: Callable[[ModelSpec], Loaded], budget_bytes: int) -> None:
        """Creates an empty cache that loads with `load`."""
        self._load = load
        self._budget_bytes = budget_bytes
        self._resident: OrderedDict[tuple[str, str], Loaded] = OrderedDict()
        self._loaded_models: frozenset[str] = frozenset()

    @property
    def loaded_models(self) -> frozenset[str]:
        """Ids of the resident models. One immutable value is replaced by the next, so any thread may read it."""
        return self._loaded_models

    def get(self, spec: ModelSpec) -> Loaded:
        """Returns a model, loading it if need be; whatever the load raises, the cache stays as consistent as before."""
        key = (spec.model_id, spec.revision)
        if key not in self._resident:
            # Room is made before the load, not after it: both models at once may be more than the device has. The
            # bytes on disk stand for those in memory, which are not known yet.
            self._evict(self._budget_bytes - sum(file.size_bytes for file in spec.files))
            self._resident[key] = self._load(spec)
        self._resident.move_to_end(key)
        self._evict(self._budget_bytes, keep=1)
        self._announce()
        return self._resident[key]

    def clear(self) -> None:
        """Lets go of every model."""
        self._resident.clear()
        self._announce()

    def _evict(self, limit_bytes: int, keep: int = 0) -> None:
        while len(self._resident) > keep and self._resident_bytes() > limit_bytes:
            self._resident.popitem(last=False)
        self._announce()

    def _resident_bytes(self) -> int:
        return sum(model.size_bytes for model in self._resident.values())

    def _announce(self) -> None:
        self._loaded_models = frozenset(model_id for model_id, _ in self._resident)
