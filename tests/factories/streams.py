"""Reads streams of events as a client does, and reports steps as a worker does."""

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from typing import Any, Final
from uuid import UUID

import grpc
from pingvas.generation.v1 import job_event_pb2, job_pb2
from pingvas.worker.v1 import worker_service_pb2

from svc_common.events import EventPublisher
from svc_generation.domain.event_ids import EventId

JobEvent = job_event_pb2.JobEvent
Stream = grpc.aio.UnaryStreamCall[Any, JobEvent]

TERMINAL: Final = frozenset({"completed", "failed", "cancelled"})
_PATIENCE_SECONDS: Final = 15.0


def detail(event: JobEvent) -> str:
    """Returns what an event tells of."""
    return str(event.WhichOneof("detail"))


async def read(stream: Stream, count: int) -> list[JobEvent]:
    """Returns the next events of a stream that aren't heartbeats; fails when it ends before, or they don't come."""
    events: list[JobEvent] = []
    async with asyncio.timeout(_PATIENCE_SECONDS):
        while len(events) < count:
            event = await stream.read()
            assert event is not grpc.aio.EOF, f"the stream ended after {events}"
            if detail(event) != "heartbeat":
                events.append(event)
    return events


async def read_to_end(stream: Stream) -> list[JobEvent]:
    """Returns the rest of a stream that ends, without heartbeats."""
    events: list[JobEvent] = []
    async with asyncio.timeout(_PATIENCE_SECONDS):
        while (event := await stream.read()) is not grpc.aio.EOF:
            if detail(event) != "heartbeat":
                events.append(event)
    return events


def assert_one_watchers_view(events: Sequence[JobEvent]) -> None:
    """Asserts that ids grow and that one terminal event comes, at the end."""
    ids = [EventId.parse(event.event_id) for event in events]
    assert ids == sorted(set(ids))
    assert [detail(event) in TERMINAL for event in events] == [False] * (len(events) - 1) + [True]


def kinds(events: Sequence[JobEvent]) -> list[str]:
    """Returns what events tell of."""
    return [detail(event) for event in events]


async def read_until(stream: Stream, is_wanted: Callable[[JobEvent], bool]) -> list[JobEvent]:
    """Reads up to the first event that is wanted."""
    events = await read(stream, 1)
    while not is_wanted(events[-1]):
        events += await read(stream, 1)
    return events


async def report_step(
    publisher: EventPublisher,
    attempt: worker_service_pb2.Attempt,
    step: int,
    *,
    preview: bytes = b"",
    clock_ahead_seconds: int = 0,
) -> None:
    """Publishes a step as a worker does."""
    event = JobEvent(
        event_id=f"{attempt.event_sequence}-{step}",
        job_id=attempt.job_id,
        state=job_pb2.JOB_STATE_RUNNING,
        progress=job_event_pb2.JobProgress(step=step, step_count=1000, preview_jpeg=preview),
    )
    event.create_time.GetCurrentTime()
    event.create_time.seconds += clock_ahead_seconds
    await publisher.publish_progress(UUID(attempt.account_id), UUID(attempt.job_id), event.SerializeToString())


async def steps_until_heard(
    publisher: EventPublisher, attempt: worker_service_pb2.Attempt, stream: Stream, *, first: int = 1
) -> list[JobEvent]:
    """Reports steps until one of them is heard by a stream whose way is just being mended."""
    hearing = asyncio.create_task(read(stream, 1))
    for step in range(first, first + 500):
        await report_step(publisher, attempt, step)
        with contextlib.suppress(TimeoutError):
            return await asyncio.wait_for(asyncio.shield(hearing), 0.02)
    raise AssertionError("no step was heard")
