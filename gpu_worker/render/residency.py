"""Which models stay in memory: on the device, and as host copies from which the device is filled again without disk.

Owns residency in both memories, counted in bytes, least recently used first out, and the rule that one load runs at a
time. Leaves loading, pinning and copying to the functions it is given. `get`, `release_device` and `clear` belong to the
render thread; `prefetch` may run beside them, and any thread may read `loaded_models` and `host_models`.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Generic, Protocol, TypeAlias, TypeVar

from gpu_worker.models.files import ModelSpec

_Key: TypeAlias = tuple[str, str]


class HostCopy(Protocol):
    """A model in host memory; the real one and a weightless one of the tests."""

    @property
    def size_bytes(self) -> int:
        """Bytes that the model's weights take, in host memory and on the device alike."""


Host = TypeVar("Host", bound=HostCopy)
Loaded = TypeVar("Loaded")


@dataclass(slots=True)
class _Resident(Generic[Host, Loaded]):
    """A model that is in one memory at least."""

    size_bytes: int
    host: Host | None = None
    loaded: Loaded | None = None


class Residency(Generic[Host, Loaded]):
    """Models by id and revision, each on the device, in host memory, or both.

    The model that was got last is never evicted from the device, however large it is. Its host copy may go once it is
    placed, for the device no longer needs it.
    """

    def __init__(
        self,
        load: Callable[[ModelSpec], Host],
        place: Callable[[Host], Loaded],
        *,
        device_budget_bytes: int,
        host_budget_bytes: int,
        shared_memory: bool = False,
    ) -> None:
        """Creates an empty residency that loads into host memory with `load` and fills the device with `place`.

        With `shared_memory` (the device is the processor, and `place` copies nothing) a model counts once, within
        `device_budget_bytes`, and `host_budget_bytes` is not used.
        """
        self._load = load
        self._place = place
        self._shared_memory = shared_memory
        self._device_budget_bytes = device_budget_bytes
        self._host_budget_bytes = device_budget_bytes if shared_memory else host_budget_bytes
        self._changed = threading.Condition()
        self._models: OrderedDict[_Key, _Resident[Host, Loaded]] = OrderedDict()  # least recently used first
        self._loading: dict[_Key, int] = {}  # bytes reserved in host memory by loads in progress
        self._held: _Key | None = None  # whose host copy the render thread needs
        self._loaded_models: frozenset[str] = frozenset()
        self._host_models: frozenset[str] = frozenset()
        self.loading_lock = threading.Lock()
        """Held by every load. The loaders of transformers, diffusers and peft switch global state of torch while they
        build modules (the default type, how parameters are registered), so whoever else builds modules takes it, and
        calls nothing of this class meanwhile."""

    @property
    def loaded_models(self) -> frozenset[str]:
        """Ids of the models that render without a load. One immutable value is replaced by the next."""
        return self._loaded_models

    @property
    def host_models(self) -> frozenset[str]:
        """Ids of the models with a copy in host memory, replaced as `loaded_models` is."""
        return self._host_models

    def get(self, spec: ModelSpec) -> Loaded:
        """Returns a model on the device, loading and placing it if need be; raises what `load` or `place` raises.

        A prefetch of the same model that is in progress is waited for, not repeated. After an error everything that
        was resident before and didn't have to make room is still so.
        """
        key = _key(spec)
        with self._changed:
            self._held = key
        try:
            loaded = self._on_device(key)
            return self._placed(key, self._host_copy(spec, key)) if loaded is None else loaded
        finally:
            with self._changed:
                if not self._shared_memory:
                    self._held = None
                self._evict_host(self._host_budget_bytes)

    def prefetch(self, spec: ModelSpec) -> None:
        """Loads a model into host memory, so that `get` needn't; raises what `load` raises.

        Does nothing when the model is resident or being loaded, or when there is no room for it beside what is in use.
        """
        key = _key(spec)
        with self._changed:
            room_bytes = self._host_budget_bytes - self._host_bytes(only_held=True)
            if key in self._models or key in self._loading or spec.size_bytes > room_bytes:
                return
            self._reserve(key, spec.size_bytes)
        self._load_reserved(spec, key)

    def release_device(self) -> None:
        """Lets go of everything on the device, for use after it ran out of memory; host copies stay."""
        with self._changed:
            self._held = None
            for key, model in list(self._models.items()):
                model.loaded = None
                if self._shared_memory or model.host is None:
                    del self._models[key]
            self._announce()

    def clear(self) -> None:
        """Lets go of every model; one that a prefetch is loading still arrives."""
        with self._changed:
            self._held = None
            self._models.clear()
            self._announce()

    def _on_device(self, key: _Key) -> Loaded | None:
        with self._changed:
            model = self._models.get(key)
            if model is None or model.loaded is None:
                return None
            self._models.move_to_end(key)
            return model.loaded

    def _host_copy(self, spec: ModelSpec, key: _Key) -> Host:
        with self._changed:
            self._changed.wait_for(lambda: key not in self._loading)
            model = self._models.get(key)
            if model is not None and model.host is not None:
                self._models.move_to_end(key)
                return model.host
            self._reserve(key, spec.size_bytes)
        return self._load_reserved(spec, key)

    def _reserve(self, key: _Key, size_bytes: int) -> None:
        # Room is made before the load, not after it: both models at once may be more than there is. The bytes on disk
        # stand for those in memory, which are not known yet.
        self._evict_host(self._host_budget_bytes - size_bytes)
        self._loading[key] = size_bytes

    def _load_reserved(self, spec: ModelSpec, key: _Key) -> Host:
        host: Host | None = None
        try:
            with self.loading_lock:
                host = self._load(spec)
            return host
        finally:
            with self._changed:
                del self._loading[key]
                if host is not None:
                    self._models[key] = _Resident(host.size_bytes, host)
                self._evict_host(self._host_budget_bytes)
                self._changed.notify_all()

    def _placed(self, key: _Key, host: Host) -> Loaded:
        with self._changed:
            self._evict_device(self._device_budget_bytes - host.size_bytes)
        # Outside the lock: it copies gigabytes, and a prefetch goes on meanwhile.
        loaded = self._place(host)
        with self._changed:
            self._models[key].loaded = loaded
            self._announce()
        return loaded

    def _evict_device(self, limit_bytes: int) -> None:
        if self._shared_memory:
            return  # what is there lies in host memory, which made room for it
        for key, model in list(self._models.items()):
            if sum(other.size_bytes for other in self._models.values() if other.loaded is not None) <= limit_bytes:
                break
            model.loaded = None
            if model.host is None:
                del self._models[key]
        self._announce()

    def _evict_host(self, limit_bytes: int) -> None:
        for key, model in list(self._models.items()):
            if self._host_bytes() <= limit_bytes:
                break
            if key == self._held:
                continue
            model.host = None
            if self._shared_memory or model.loaded is None:
                del self._models[key]
        self._announce()

    def _host_bytes(self, *, only_held: bool = False) -> int:
        """Returns the bytes in host memory with those of loads in progress; `only_held`: those that can't be evicted."""
        copies = (
            model.size_bytes
            for key, model in self._models.items()
            if model.host is not None and (key == self._held or not only_held)
        )
        return sum(copies) + sum(self._loading.values())

    def _announce(self) -> None:
        self._host_models = _ids(key for key, model in self._models.items() if model.host is not None)
        on_device = (key for key, model in self._models.items() if model.loaded is not None or self._shared_memory)
        self._loaded_models = _ids(on_device)


def _key(spec: ModelSpec) -> _Key:
    return spec.model_id, spec.revision


def _ids(keys: Iterable[_Key]) -> frozenset[str]:
    return frozenset(model_id for model_id, _ in keys)
