"""The streams of events: a snapshot from PostgreSQL, then what happens, in the order of the event ids.

A stream opens its mailbox before it reads the snapshot, so that nothing falls between the two, and drops what it has sent
already by comparing ids. Changes of state come from the row, never from a message; so they survive the loss of Redis, and
a stream that is taken up again at any event goes on exactly behind it.
"""

from collections import OrderedDict
from collections.abc import AsyncIterator, Iterable
from uuid import UUID

from google.protobuf.timestamp_pb2 import Timestamp
from pingvas.generation.v1 import job_event_pb2

from svc_common.db import Database
from svc_common.errors import dependency_unavailable
from svc_common.events import EventPublisher
from svc_generation.domain.event_ids import EventId
from svc_generation.domain.states import JobState
from svc_generation.messages.jobs import JobConverter
from svc_generation.store import queries
from svc_generation.store.models import Job
from svc_generation.usecases.own_jobs import own_job
from svc_generation.usecases.waiting import WaitTimes
from svc_generation.usecases.watch_hub import WatchHub

JobEvent = job_event_pb2.JobEvent

HEARTBEAT_SECONDS = 15.0
"""Shorter than every proxy's idle time-out on the way (60 s is the shortest in common use)."""
_CHANGED_PAGE = 200
_BEFORE_ALL = EventId(0)
_REMEMBERED_JOBS = 256
"""Far more than an account may have running at once: what is late is late by milliseconds."""


class Watch:
    """Produces the streams."""

    def __init__(
        self,
        *,
        database: Database,
        hub: WatchHub,
        publisher: EventPublisher,
        converter: JobConverter,
        waits: WaitTimes,
        heartbeat_seconds: float = HEARTBEAT_SECONDS,
    ) -> None:
        """Takes the parts."""
        self._database = database
        self._hub = hub
        self._publisher = publisher
        self._converter = converter
        self._waits = waits
        self._heartbeat_seconds = heartbeat_seconds

    async def job(self, account_id: UUID, job_id: UUID, after: str) -> AsyncIterator[JobEvent]:
        """Streams one job's events from behind `after` up to the terminal one.

        Raises:
            ServiceError: JOB_NOT_FOUND, EVENT_ID_INVALID.
        """
        last = EventId.parse(after)
        async with self._hub.open(account_id, job_id) as mailbox:
            row: Job | None = await own_job(self._database, account_id, job_id)
            gap, begun = True, False
            progress: list[JobEvent] = []
            while True:
                if row is not None:
                    mailbox.note_read(row.last_sequence)
                # The row is read whenever messages may have been missed. A job that has never run has no steps behind it.
                if gap and row is not None and row.attempt:
                    progress = await self._history(job_id) + progress
                durable = await self._changes(row, last.sequence) if row else []
                for event_id, event in merge(durable, progress):
                    if event_id > last:
                        last, begun = event_id, True
                        yield event
                if row is not None and JobState(row.state).is_terminal:
                    return
                if not begun:
                    # A stream that has nothing to say yet says so, or an HTTP client would wait for its headers.
                    yield heartbeat()
                    begun = True
                if not await mailbox.wait(self._heartbeat_seconds):
                    yield heartbeat()
                self._refuse_when_closing()
                progress, row, changed, gap = mailbox.take()
                # Progress below a change of state that no message told of: the row has it.
                if row is None and (changed or _is_ahead(progress, last)):
                    row = await own_job(self._database, account_id, job_id)

    async def account(self, account_id: UUID, after: str) -> AsyncIterator[JobEvent]:
        """Streams the events of all of an account's jobs from behind `after`, without end.

        Progress is numbered here below the newest change of state that the stream has sent, by its time in milliseconds:
        steps of several jobs have no order of their own that ids could keep. Where a worker's clock is behind another's
        the next number is taken.

        Raises:
            ServiceError: EVENT_ID_INVALID.
        """
        last = EventId.parse(after)
        async with self._hub.open(account_id, None) as mailbox:
            rows, newest = await self._beginning(account_id, last.sequence if after else None)
            progress: list[JobEvent] = []
            begun, told = False, ToldProgress()
            for row in rows:
                if row.state == JobState.RUNNING:
                    progress += (await self._history(row.job_id))[-1:]
            while True:
                for event_id, event in await self._account_changes(rows, last.sequence):
                    last, begun = event_id, True
                    yield event
                for row in rows:
                    told.advance(str(row.job_id), EventId(row.last_sequence))
                last = max(last, EventId(newest))
                mailbox.note_read(last.sequence)
                for event in progress:
                    if told.advance(event.job_id, EventId.parse(event.event_id)):
                        step = max(event.create_time.ToMilliseconds(), last.step + 1)
                        last, begun = EventId(last.sequence, step), True
                        yield renumbered(event, last)
                if not begun:
                    yield heartbeat()  # as above: the client waits for headers
                    begun = True
                if not await mailbox.wait(self._heartbeat_seconds):
                    yield heartbeat()
                self._refuse_when_closing()
                mail = mailbox.take()
                progress = mail.progress
                rows = await self._changed(account_id, last.sequence) if mail.changed else []

    async def _account_changes(self, rows: list[Job], after: int) -> list[tuple[EventId, JobEvent]]:
        changes = [change for row in rows for change in await self._changes(row, after)]
        return sorted(changes, key=lambda change: change[0])

    async def _beginning(self, account_id: UUID, after: int | None) -> tuple[list[Job], int]:
        """Returns the jobs that a stream begins with, and the number of the newest event behind which it goes on.

        Without a place to go on from, the jobs that have ended are left out: so is what happened to them before, however
        old the events of the open ones are.
        """
        if after is not None:
            return await self._changed(account_id, after), after
        async with self._database.transaction(account_id) as session:
            newest, rows = await queries.list_open(session, account_id)
        return rows, newest

    async def _changed(self, account_id: UUID, after: int) -> list[Job]:
        async with self._database.direct(account_id) as direct:
            rows: list[Job] = []
            while len(page := await queries.list_changed(direct, account_id, after, _CHANGED_PAGE)) == _CHANGED_PAGE:
                rows += page
                after = page[-1].last_sequence
            return rows + list(page)

    async def _changes(self, row: Job, after: int) -> list[tuple[EventId, JobEvent]]:
        position, estimate = await self._waits.of_job(row)
        return await self._converter.events(row, after, position, estimate)

    async def _history(self, job_id: UUID) -> list[JobEvent]:
        return [JobEvent.FromString(data) for data in await self._publisher.history(job_id)]

    def _refuse_when_closing(self) -> None:
        if self._hub.closing:
            raise dependency_unavailable(
                "svc_generation", "This server is stopping. Call again with the last event id."
            )


class ToldProgress:
    """Remembers how far a stream has told of each job: no step comes twice, or behind the job's end.

    The events of one job come in their order, but those of its state come from its row and may overtake its steps.
    """

    def __init__(self) -> None:
        """Starts with nothing told."""
        self._told: OrderedDict[str, EventId] = OrderedDict()

    def advance(self, job_id: str, event_id: EventId) -> bool:
        """Takes an event of a job as told; returns False when that one or a later one was told before."""
        if event_id <= self._told.get(job_id, _BEFORE_ALL):
            return False
        self._told[job_id] = event_id
        self._told.move_to_end(job_id)
        if len(self._told) > _REMEMBERED_JOBS:
            self._told.popitem(last=False)
        return True


def _is_ahead(progress: Iterable[JobEvent], last: EventId) -> bool:
    """Tells whether progress belongs to a change of state that comes behind an event."""
    return any(EventId.parse(event.event_id).sequence > last.sequence for event in progress)


def merge(durable: list[tuple[EventId, JobEvent]], progress: list[JobEvent]) -> list[tuple[EventId, JobEvent]]:
    """Brings changes of state and progress into the order of their ids."""
    numbered = [(EventId.parse(event.event_id), event) for event in progress]
    return sorted(durable + numbered, key=lambda pair: pair[0])


def renumbered(event: JobEvent, event_id: EventId) -> JobEvent:
    """Returns a copy of an event with another id; the original is shared between streams."""
    copy = JobEvent()
    copy.CopyFrom(event)
    copy.event_id = str(event_id)
    return copy


def heartbeat() -> JobEvent:
    """Returns an event that only says that the stream is alive."""
    now = Timestamp()
    now.GetCurrentTime()
    return JobEvent(heartbeat=job_event_pb2.Heartbeat(), create_time=now)
