"""Hands what one connection to Redis hears to the many streams of this process.

Each stream has a mailbox. Progress waits in it up to a bound, beyond which the oldest is dropped: a slow reader misses
steps. That a state has changed is a flag, not a message, so it can't be dropped; the stream reads the row then. Where the
change was made in this very process its row is there already, and is handed to the streams of that job.

A mailbox also knows up to which event its stream has read, so that the poll, which makes good for messages that Redis has
lost, wakes those streams only that are behind: a thousand that read their rows at once are half a second's work.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping
from contextlib import asynccontextmanager
from typing import NamedTuple
from uuid import UUID

import structlog
from pingvas.generation.v1 import job_event_pb2
from redis.asyncio import Redis

from svc_common.concurrency import is_set_within
from svc_common.errors import ServiceError
from svc_common.events import EventListener
from svc_generation.store.models import Job

_log = structlog.get_logger(__name__)

_MAILBOX_EVENTS = 64
"""Progress events that wait for a slow reader; a preview has about 4 KiB, so a stream holds 256 KiB at most."""
_POLL_SECONDS = 2.0
"""How often PostgreSQL is asked for changes that no message told of, for all streams of the process together."""


class Mail(NamedTuple):
    """What a mailbox had in it."""

    progress: list[job_event_pb2.JobEvent]
    """In the order of arrival."""
    row: Job | None
    """The job, newer than the stream has read it; unless it is told below that there is something newer still."""
    changed: bool
    """Whether a job's state may have changed."""
    gap: bool
    """Whether progress may have been missed."""


class Mailbox:
    """Holds what one stream hasn't read yet."""

    __slots__ = ("_changed", "_gap", "_known", "_progress", "_row", "_wake", "job_id", "watched")

    def __init__(self, account_id: UUID, job_id: UUID | None) -> None:
        """Takes the job that the stream watches, or None for all of the account's."""
        self.job_id = str(job_id) if job_id else None
        self.watched = job_id or account_id
        self._known = 0
        self._row: Job | None = None
        self._changed = False
        self._gap = False
        self._progress: deque[job_event_pb2.JobEvent] = deque(maxlen=_MAILBOX_EVENTS)
        self._wake = asyncio.Event()

    def put(self, event: job_event_pb2.JobEvent) -> None:
        """Adds progress, dropping the oldest when the reader is slow."""
        if self.job_id is None or event.job_id == self.job_id:
            self._progress.append(event)
            self._wake.set()

    def tell_changed(self, *, gap: bool = False) -> None:
        """Tells that a job's state may have changed, and after a gap that progress may have been missed as well."""
        self._row = None
        self._changed = True
        self._gap = self._gap or gap
        self._wake.set()

    def tell_row(self, row: Job) -> None:
        """Hands over a row as it has just been committed, if the stream watches that job and doesn't know better."""
        if self.watched == row.job_id and row.last_sequence > self._known and not self._changed:
            self._known = row.last_sequence
            self._row = row
            self._wake.set()

    def note_read(self, sequence: int) -> None:
        """Notes up to which change of state the stream has read: of its job, or of all the account's."""
        self._known = max(self._known, sequence)

    def tell_newest(self, sequence: int) -> None:
        """Tells the number of the newest change of state, of which the stream may know already."""
        if sequence > self._known:
            self._known = sequence
            self.tell_changed()

    async def wait(self, seconds: float) -> bool:
        """Waits until something is there; returns False when nothing came for so long."""
        woken = await is_set_within(self._wake, seconds)
        self._wake.clear()
        return woken

    def take(self) -> Mail:
        """Empties the mailbox."""
        mail = Mail(list(self._progress), self._row, self._changed, self._gap)
        self._progress.clear()
        self._row, self._changed, self._gap = None, False, False
        return mail


class WatchHub:
    """Knows the streams of this process by account."""

    def __init__(
        self,
        redis: Redis,
        last_sequences: Callable[[Collection[UUID], Collection[UUID]], Awaitable[Mapping[UUID, int]]],
    ) -> None:
        """Takes a client of Redis for an EventListener, and what asks PostgreSQL for the newest numbers of events."""
        self._mailboxes: dict[UUID, set[Mailbox]] = {}
        self._listener = EventListener(
            redis, on_progress=self.on_progress, on_change=self.on_change, on_gap=self.on_gap
        )
        self._last_sequences = last_sequences
        self._closing = asyncio.Event()

    @property
    def closing(self) -> bool:
        """Tells whether the process is stopping, so that streams should end."""
        return self._closing.is_set()

    async def close(self) -> None:
        """Makes every stream look up and end."""
        self._closing.set()
        for mailboxes in self._mailboxes.values():
            for mailbox in mailboxes:
                mailbox.tell_changed()

    @asynccontextmanager
    async def open(self, account_id: UUID, job_id: UUID | None) -> AsyncIterator[Mailbox]:
        """Opens a mailbox, which hears everything that is published from the moment it is open."""
        mailbox = Mailbox(account_id, job_id)
        mailboxes = self._mailboxes.setdefault(account_id, set())
        mailboxes.add(mailbox)
        try:
            await self._listener.follow(account_id)
            yield mailbox
        finally:
            mailboxes.discard(mailbox)
            if not mailboxes and self._mailboxes.get(account_id) is mailboxes:
                del self._mailboxes[account_id]
                await self._listener.unfollow(account_id)

    def on_progress(self, account_id: UUID, data: bytes) -> None:
        """Hands progress to the account's streams."""
        mailboxes = self._mailboxes.get(account_id)
        if mailboxes:
            event = job_event_pb2.JobEvent.FromString(data)
            for mailbox in mailboxes:
                mailbox.put(event)

    def hand_over(self, row: Job) -> None:
        """Hands a job, as this process has just committed it, to the streams that watch it."""
        for mailbox in self._mailboxes.get(row.account_id, ()):
            mailbox.tell_row(row)

    def on_change(self, account_id: UUID, sequence: int) -> None:
        """Tells the account's streams of a change by its number, or of one whose number isn't known, which is 0."""
        for mailbox in self._mailboxes.get(account_id, ()):
            if sequence:
                mailbox.tell_newest(sequence)
            else:
                mailbox.tell_changed()

    def on_gap(self) -> None:
        """Tells every stream that messages may have been missed."""
        for mailboxes in self._mailboxes.values():
            for mailbox in mailboxes:
                mailbox.tell_changed(gap=True)

    async def run(self) -> None:
        """Hears Redis, and asks PostgreSQL now and then for what Redis has lost, until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._listener.run())
            group.create_task(self._poll())

    async def _poll(self) -> None:
        while True:
            await asyncio.sleep(_POLL_SECONDS)
            try:
                await self.catch_up()
            except ServiceError as error:
                _log.warning("watch.poll_failed", error=str(error))

    async def catch_up(self) -> None:
        """Asks PostgreSQL for the newest changes of state, and tells the streams that don't know of them."""
        mailboxes = [mailbox for opened in self._mailboxes.values() for mailbox in opened]
        if not mailboxes:
            return
        accounts = {mailbox.watched for mailbox in mailboxes if mailbox.job_id is None}
        jobs = {mailbox.watched for mailbox in mailboxes if mailbox.job_id is not None}
        newest = await self._last_sequences(accounts, jobs)
        for mailbox in mailboxes:
            mailbox.tell_newest(newest.get(mailbox.watched, 0))
