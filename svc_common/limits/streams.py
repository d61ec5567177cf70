"""How many streams an account has open, counted in Redis for all processes, or in this one while Redis is away.

Each open stream has a place that its process keeps by renewing it. A stream that ends, however it does, leaves its place at
once; those of a process that died lapse.
"""

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final
from uuid import UUID

from svc_common.concurrency import is_set_within
from svc_common.errors import Reason, ServiceError
from svc_common.limits.redis_guard import RedisGuard

PLACE_LIFETIME: Final = timedelta(seconds=30)
_KEPT_EVERY_SECONDS: Final = PLACE_LIFETIME.total_seconds() / 3
_RETRY_AFTER: Final = timedelta(seconds=5)
_ACCOUNTS_AT_ONCE: Final = 100
_ID_BYTES: Final = 8

_Places = dict[UUID, set[str]]


@dataclass(frozen=True, slots=True)
class Place:
    """The place of one open stream."""

    _leave: Callable[[UUID, str], None]
    account_id: UUID
    stream_id: str

    def leave(self) -> None:
        """Gives the place up: here at once, and in Redis soon. To be called once."""
        self._leave(self.account_id, self.stream_id)


class OpenStreams:
    """Admits streams of accounts, or refuses them with TOO_MANY_STREAMS."""

    def __init__(self, guard: RedisGuard, most_of: Callable[[UUID], Awaitable[int]]) -> None:
        """Takes the guarded Redis, and what tells how many streams an account may have and doesn't raise."""
        self._guard = guard
        self._open_script = guard.script("open_stream")
        self._keep_script = guard.script("keep_streams")
        self._most_of = most_of
        self._places: _Places = {}
        self._left: _Places = {}
        self._forgetting: asyncio.Task[None] | None = None

    async def open(self, account_id: UUID) -> "Place":
        """Returns the place of a new stream, to be left when the stream has ended.

        Raises:
            ServiceError: TOO_MANY_STREAMS.
        """
        most = await self._most_of(account_id)
        if len(self._places.get(account_id, ())) >= most:
            raise _too_many_streams(most)
        # Counted before Redis is asked, so that parallel calls of this process can't all pass the check above.
        place = self._enter(account_id)
        arguments: list[str | int] = [place.stream_id, most, _milliseconds(PLACE_LIFETIME)]
        try:
            answer = await self._guard.ask(lambda: self._open_script(keys=[_key(account_id)], args=arguments))
        except BaseException:
            place.leave()
            raise
        # None: Redis is away, and the places of this process decide.
        if answer == 0:
            place.leave()
            raise _too_many_streams(most)
        return place

    async def run(self, stop: asyncio.Event) -> None:
        """Renews the places of open streams."""
        while not await is_set_within(stop, _KEPT_EVERY_SECONDS):
            await self.keep()

    async def keep(self) -> None:
        """Renews every place once."""
        places = [(account_id, tuple(streams)) for account_id, streams in self._places.items()]
        for start in range(0, len(places), _ACCOUNTS_AT_ONCE):
            await self._keep(places[start : start + _ACCOUNTS_AT_ONCE])

    async def close(self) -> None:
        """Waits until the places of streams that have ended are gone from Redis."""
        while self._forgetting is not None:
            await self._forgetting

    async def _keep(self, places: Sequence[tuple[UUID, Sequence[str]]]) -> None:
        async def renew() -> bool:
            async with self._guard.redis.pipeline(transaction=False) as pipeline:
                for account_id, streams in places:
                    arguments: list[str | int] = [_milliseconds(PLACE_LIFETIME), *streams]
                    await self._keep_script(keys=[_key(account_id)], args=arguments, client=pipeline)
                await pipeline.execute()
            return True

        await self._guard.ask(renew)
        for account_id, streams in places:
            for stream_id in streams:
                # A stream that ended meanwhile may have been brought back.
                if stream_id not in self._places.get(account_id, ()):
                    self._forget(account_id, stream_id)

    def _enter(self, account_id: UUID) -> "Place":
        place = Place(self._leave, account_id, secrets.token_hex(_ID_BYTES))
        self._places.setdefault(account_id, set()).add(place.stream_id)
        return place

    def _leave(self, account_id: UUID, stream_id: str) -> None:
        streams = self._places[account_id]
        streams.remove(stream_id)
        if not streams:
            del self._places[account_id]
        self._forget(account_id, stream_id)

    def _forget(self, account_id: UUID, stream_id: str) -> None:
        self._left.setdefault(account_id, set()).add(stream_id)
        # Not awaited: the call whose stream has ended may be cancelled. Those that end together are taken out together.
        if self._forgetting is None:
            self._forgetting = asyncio.get_running_loop().create_task(self._forget_left())

    async def _forget_left(self) -> None:
        while self._left:
            left, self._left = self._left, {}
            await self._guard.ask(lambda left=left: self._take_out(left))  # type: ignore[misc]
        self._forgetting = None

    async def _take_out(self, left: _Places) -> bool:
        async with self._guard.redis.pipeline(transaction=False) as pipeline:
            for account_id, streams in left.items():
                pipeline.zrem(_key(account_id), *streams)
            await pipeline.execute()
        return True


def _key(account_id: UUID) -> str:
    return f"streams:{account_id}"


def _milliseconds(span: timedelta) -> int:
    return int(span.total_seconds() * 1000)


def _too_many_streams(most: int) -> ServiceError:
    return ServiceError(
        Reason.TOO_MANY_STREAMS,
        f"{most} streams of your account are open, as many as its tier allows. Close one, or watch all jobs in one stream, "
        "or upgrade.",
        metadata={"limit": str(most)},
        retry_after=_RETRY_AFTER,
    )
