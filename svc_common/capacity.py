"""Whether the stores have room: what folders on this machine say beforehand, and what stores say when they refuse.

A full store is noticed in three ways. A folder of this machine is looked at every second, with two marks so that a store
on the verge doesn't flap. Redis is written to every second. And what a store has refused for want of room counts for a
while; other processes hear of it through Redis, so that whoever accepts work knows what only a worker has met. What is
done about it is left to others: handlers call `require` before they accept work, the server's health repeats `full`.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Final

import structlog
from prometheus_client import Gauge
from redis.asyncio import Redis

from svc_common.concurrency import is_set_within
from svc_common.errors import Reason, ServiceError
from svc_common.free_space import FolderGauge, Store, WaterMarks
from svc_common.redis_client import REDIS_ERRORS, connect, is_out_of_room
from svc_common.settings import ServiceSettings

_LOOK_SECONDS: Final = 1.0
_REFUSAL_COUNTS_SECONDS: Final = 10.0
"""How long work is turned away after a store has refused something. Then the next call tries, and finds out again."""
_HINT_MILLISECONDS: Final = 15_000
_RETRY_AFTER: Final = timedelta(seconds=30)
_KEY: Final = "capacity:full:"
_PROBE_KEY: Final = "capacity:probe"

_FULL: Final = Gauge("storage_full", "1 while a store has no room for new work, else 0.", ("store",))

_log: Final = structlog.get_logger("capacity")


def storage_full(store: Store) -> ServiceError:
    """Returns the error of a call that would need room in a store that has none."""
    return ServiceError(
        Reason.STORAGE_FULL,
        f"The platform has no room left to store more ({store}). Nothing was accepted or charged. Try again in half a "
        "minute; it goes on when its operator has made room.",
        metadata={"store": str(store)},
        retry_after=_RETRY_AFTER,
    )


def service_capacity(settings: ServiceSettings, *stores: Store) -> "Capacity":
    """Returns what a service knows of the room in the stores that it needs. Connects when it is first used."""
    marks = WaterMarks(settings.storage_low_bytes, settings.storage_high_bytes)
    redis = connect(settings.redis_url, retries=0)
    return Capacity(stores, folders=settings.storage_folders, marks=marks, redis=redis)


async def _tell_nobody(_: bool) -> None:
    """Serves where nobody wants to hear of changes."""


class Capacity:
    """What a process knows of the room in the stores that it needs."""

    def __init__(
        self,
        stores: Collection[Store],
        *,
        folders: Mapping[Store, Path],
        marks: WaterMarks,
        redis: Redis | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Takes the stores that matter to the process, and the folders of those that lie on this machine.

        With `redis`, whose client is closed by `close`, it is written to, and what other processes have met is heard.
        """
        self._stores = tuple(stores)
        self._gauges = {store: FolderGauge(folder, marks) for store, folder in folders.items() if store in stores}
        self._redis = redis
        self._monotonic = monotonic
        self._low: frozenset[Store] = frozenset()
        self._hinted: frozenset[Store] = frozenset()
        self._redis_is_full = False
        self._refused: dict[Store, float] = {}
        self._to_tell: set[Store] = set()

    @property
    def full(self) -> tuple[Store, ...]:
        """The stores that have no room, of those that matter to the process."""
        return tuple(store for store in self._stores if self.is_full(store))

    def is_full(self, store: Store) -> bool:
        """Tells whether a store has no room, as far as is known."""
        if store in self._low or store in self._hinted or (store is Store.REDIS and self._redis_is_full):
            return True
        return self._monotonic() < self._refused.get(store, 0.0)

    def note_refusal(self, store: Store) -> None:
        """Notes that a store has just refused something for want of room."""
        if not self.is_full(store):
            _log.warning("storage.refused", store=str(store))
        self._refused[store] = self._monotonic() + _REFUSAL_COUNTS_SECONDS
        self._to_tell.add(store)

    def require(self, *stores: Store) -> None:
        """Raises ServiceError STORAGE_FULL when one of the stores has no room."""
        for store in stores:
            if self.is_full(store):
                raise storage_full(store)

    async def watch(self, stop: asyncio.Event, tell: Callable[[bool], Awaitable[None]] = _tell_nobody) -> None:
        """Looks every second until `stop` is set; `tell` hears at each change whether there is room everywhere."""
        known: tuple[Store, ...] = ()
        while True:
            await self.look()
            if (full := self.full) != known:
                known = full
                _log.warning("storage.changed", full=[str(store) for store in full])
                await tell(not full)
            for store in self._stores:
                _FULL.labels(str(store)).set(store in full)
            if await is_set_within(stop, _LOOK_SECONDS):
                return

    async def look(self) -> None:
        """Looks at the folders and at Redis, once. Never raises for a store that is away: that is told elsewhere."""
        self._low = frozenset(store for store, gauge in self._gauges.items() if gauge.is_full())
        if self._redis is None:
            return
        try:
            self._hinted = await self._hints(self._redis)
            self._redis_is_full = False
        except REDIS_ERRORS as error:
            self._hinted = frozenset()
            self._redis_is_full = is_out_of_room(error)

    async def close(self) -> None:
        """Closes the connection to Redis."""
        if self._redis is not None:
            await self._redis.aclose()

    async def _hints(self, redis: Redis) -> frozenset[Store]:
        async with redis.pipeline(transaction=False) as pipeline:
            pipeline.set(_PROBE_KEY, 1, px=_HINT_MILLISECONDS)
            # What is on this machine everybody here sees by himself, and a worker's own folder concerns nobody else.
            for store in self._to_tell - {Store.MODELS, Store.REDIS}:
                pipeline.set(_KEY + store, 1, px=_HINT_MILLISECONDS)
            pipeline.mget([_KEY + store for store in self._stores])
            answers = await pipeline.execute()
        self._to_tell.clear()
        return frozenset(store for store, told in zip(self._stores, answers[-1], strict=True) if told)
