"""Carries what happens to jobs from where it happens to the streams that are watching, through Redis.

Redis may lose all of it at any moment: changes of state are rows in PostgreSQL, and a message here is only the hint to
look. Progress is nowhere else, and a lost step is no loss. Two things are kept for an account's job: a stream
`events:{job_id}` with its latest progress, which a late watcher reads first, and a channel `events:{account_id}`, on
which everybody who watches the account hears at once.
"""

import asyncio
import contextlib
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final
from uuid import UUID

import structlog
from redis.asyncio import Redis
from redis.asyncio.client import PubSub

from svc_common.concurrency import is_set_within
from svc_common.redis_client import REDIS_ERRORS

_log = structlog.get_logger(__name__)

HISTORY_LENGTH: Final = 512
"""Messages of progress kept for a job: more than a job of 150 steps has, so that a resumed stream misses none."""
HISTORY_SECONDS: Final = 3600
_ALIVE_CHANNEL: Final = "events:alive"
"""Keeps the connection subscribed to something, so that it is read, and a broken one noticed, without watchers."""
_CHANGED: Final = b"c"
_PROGRESS: Final = b"p"
_LENGTH: Final = struct.Struct(">I")
_RECONNECT_SECONDS: Final = 0.5
_CONFIRM_SECONDS: Final = 5.0


def _bundle(events: Sequence[bytes]) -> bytes:
    """Packs events that travel together into one message, each behind its length."""
    return b"".join(part for event in events for part in (_LENGTH.pack(len(event)), event))


def _unbundled(bundle: bytes) -> Iterator[bytes]:
    at = 0
    while at < len(bundle):
        (length,) = _LENGTH.unpack_from(bundle, at)
        at += _LENGTH.size
        yield bundle[at : at + length]
        at += length


def _stream(job_id: UUID) -> str:
    return f"events:{job_id}"


def _channel(account_id: UUID) -> str:
    return f"events:{account_id}"


class EventPublisher:
    """Tells watchers what happens. Losing a message is harmless, so a caller may let failures pass."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def publish_progress(self, account_id: UUID, job_id: UUID, *events: bytes) -> None:
        """Records serialized JobEvents in the job's history and sends them to the watchers, in one round trip."""
        stream = _stream(job_id)
        bundle = _bundle(events)
        async with self._redis.pipeline(transaction=False) as pipe:
            pipe.xadd(stream, {b"e": bundle}, maxlen=HISTORY_LENGTH, approximate=True)
            pipe.publish(_channel(account_id), _PROGRESS + bundle)
            pipe.expire(stream, HISTORY_SECONDS)
            await pipe.execute()

    async def announce(self, changes: Mapping[UUID, int]) -> None:
        """Tells the accounts' watchers that jobs' states have changed in PostgreSQL. Never raises: it's a hint.

        Args:
            changes: the number of the newest change of each account; 0 where it isn't known.

        """
        try:
            async with self._redis.pipeline(transaction=False) as pipe:
                for account_id, sequence in changes.items():
                    pipe.publish(_channel(account_id), _CHANGED + str(sequence).encode())
                await pipe.execute()
        except REDIS_ERRORS as error:
            _log.warning("events.announce_lost", accounts=len(changes), error=repr(error))

    async def history(self, job_id: UUID) -> list[bytes]:
        """Returns the serialized progress events of a job, oldest first; nothing when Redis is away."""
        try:
            entries = await self._redis.xrange(_stream(job_id))
        except REDIS_ERRORS as error:
            _log.warning("events.history_lost", job_id=str(job_id), error=repr(error))
            return []
        return [event for _, fields in entries for event in _unbundled(fields[b"e"])]


class EventListener:
    """Hears the channels of many accounts over one connection, whatever the number of watchers in the process.

    The client that it gets must not repair lost connections by itself (`connect` with `retries=0`): the listener has to
    know of each loss, since what was published meanwhile is gone.
    """

    def __init__(
        self,
        redis: Redis,
        *,
        on_progress: Callable[[UUID, bytes], None],
        on_change: Callable[[UUID, int], None],
        on_gap: Callable[[], None],
    ) -> None:
        """Takes what to call.

        Args:
            redis: see above.
            on_progress: is called with an account and a serialized event.
            on_change: is called with an account whose jobs changed, and the number of the change, 0 if it isn't known.
            on_gap: is called after a new connection.

        """
        self._redis = redis
        self._on_progress = on_progress
        self._on_change = on_change
        self._on_gap = on_gap
        self._pubsub: PubSub | None = None
        """The present connection, once everything that was followed before is subscribed to on it."""
        self._followed: dict[str, asyncio.Event] = {}

    async def follow(self, account_id: UUID) -> None:
        """Begins to hear an account, and returns when Redis has confirmed it.

        What is published after that is heard, so a snapshot that is read afterwards misses nothing. While there is no
        connection it returns at once: `on_gap` tells when there is one again, and that it hears the account.
        """
        confirmed = self._followed.setdefault(_channel(account_id), asyncio.Event())
        if self._pubsub is None:
            return
        with contextlib.suppress(*REDIS_ERRORS):
            await self._pubsub.subscribe(_channel(account_id))
            await is_set_within(confirmed, _CONFIRM_SECONDS)

    async def unfollow(self, account_id: UUID) -> None:
        """Stops hearing an account."""
        self._followed.pop(_channel(account_id), None)
        if self._pubsub is not None:
            with contextlib.suppress(*REDIS_ERRORS):
                await self._pubsub.unsubscribe(_channel(account_id))

    async def run(self) -> None:
        """Hears until it is cancelled; a lost connection is made again, with all its channels."""
        while True:
            pubsub = self._redis.pubsub()
            try:
                await self._subscribe_to_all(pubsub)
                await self._hear(pubsub)
            except REDIS_ERRORS as error:
                _log.warning("events.connection_lost", error=repr(error))
            finally:
                self._pubsub = None
                with contextlib.suppress(*REDIS_ERRORS):
                    await pubsub.aclose()  # type: ignore[no-untyped-call]
            await asyncio.sleep(_RECONNECT_SECONDS)

    async def _subscribe_to_all(self, pubsub: PubSub) -> None:
        # Before anybody else may subscribe: two that found it unconnected would connect it twice.
        await pubsub.connect()  # type: ignore[no-untyped-call]
        subscribed: set[str] = set()
        # More may be followed while this waits; who follows later than the last look subscribes by itself.
        while late := self._followed.keys() - subscribed:
            await pubsub.subscribe(*late)
            subscribed |= late
        self._pubsub = pubsub
        # The last one: its confirmation says that all of them are heard.
        await pubsub.subscribe(_ALIVE_CHANNEL)

    async def _hear(self, pubsub: PubSub) -> None:
        while True:
            message = await pubsub.get_message(timeout=30.0)
            if message is not None:
                self._dispatch(message["type"], message["channel"].decode(), message["data"])

    def _dispatch(self, kind: str, channel: str, data: bytes) -> None:
        if kind == "subscribe":
            if channel == _ALIVE_CHANNEL:
                self._on_gap()
            elif (confirmed := self._followed.get(channel)) is not None:
                confirmed.set()
        elif kind == "message" and channel != _ALIVE_CHANNEL:
            account_id = UUID(channel.removeprefix("events:"))
            if data.startswith(_PROGRESS):
                for event in _unbundled(data[1:]):
                    self._on_progress(account_id, event)
            else:
                self._on_change(account_id, int(data[1:]))


async def hear_hints(redis: Redis, channel: str, on_hint: Callable[[str], None], on_gap: Callable[[], None]) -> None:
    """Calls `on_hint` with each message of a channel until cancelled, and `on_gap` when messages may have been missed."""
    while True:
        pubsub = redis.pubsub()
        try:
            await pubsub.subscribe(channel)
            on_gap()
            while True:
                message = await pubsub.get_message(ignore_subscribe_messages=True, timeout=30.0)
                if message is not None:
                    on_hint(message["data"].decode())
        except REDIS_ERRORS as error:
            _log.warning("hints.connection_lost", channel=channel, error=repr(error))
            await asyncio.sleep(_RECONNECT_SECONDS)
        finally:
            with contextlib.suppress(*REDIS_ERRORS):
                await pubsub.aclose()  # type: ignore[no-untyped-call]
