"""A platform whose jobs do what a test tells them: events are numbered, and streams resume behind any of them."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from google.protobuf.message import Message
from pingvas.generation.v1 import generation_service_pb2, job_event_pb2, job_pb2

from svc_common.errors import Reason, ServiceError
from tests.factories.messages import JOB_ID
from tests.fakes.public_platform import PublicPlatform

WATCH_JOB, WATCH_JOBS = "GenerationService.WatchJob", "GenerationService.WatchJobs"
TERMINAL = {"completed", "failed", "cancelled"}


class ToldEvents:
    """The events of one job, in order, which both watch calls tell; `watching` counts the open calls."""

    def __init__(self, platform: PublicPlatform) -> None:
        self._events: list[job_event_pb2.JobEvent] = []
        self._more = asyncio.Condition()
        self.watching = 0
        self.opened = 0
        platform.streams |= {WATCH_JOB: self._watch, WATCH_JOBS: self._watch}

    @property
    def ids(self) -> list[str]:
        """The ids of all events so far."""
        return [event.event_id for event in self._events]

    async def tell(self, kind: str, **fields: Any) -> None:
        """Adds an event, which open streams send on."""
        detail = _DETAILS[kind](**fields)
        event_id = str(len(self._events) + 1)
        event = job_event_pb2.JobEvent(event_id=event_id, job_id=JOB_ID, **{kind: detail})  # type: ignore[arg-type]
        async with self._more:
            self._events.append(event)
            self._more.notify_all()

    async def tell_a_whole_job(self) -> None:
        """Adds all events of a job that is completed."""
        await self.tell("queued")
        await self.tell("started", attempt=1)
        for step in (1, 2, 3):
            await self.tell("progress", step=step, step_count=3, percent=33 * step)
        await self.tell("completed", images=[job_pb2.JobImage(image_id=JOB_ID)], credits_used="1.000")

    async def _watch(self, request: Any) -> AsyncIterator[Message]:
        is_job = isinstance(request, generation_service_pb2.WatchJobRequest)
        if is_job and request.job_id != JOB_ID:
            raise ServiceError(Reason.JOB_NOT_FOUND, "There is no such job in your account.")
        if not (request.after or "0").isdecimal():
            raise ServiceError(Reason.EVENT_ID_INVALID, "No event has this id.")
        place = min(int(request.after or 0), len(self._events))
        self.watching += 1
        self.opened += 1
        try:
            if place == len(self._events):
                yield job_event_pb2.JobEvent(heartbeat=job_event_pb2.Heartbeat())
            while True:
                async with self._more:
                    while place == len(self._events):
                        await self._more.wait()
                event = self._events[place]
                place += 1
                yield event
                if is_job and event.WhichOneof("detail") in TERMINAL:
                    return
        finally:
            self.watching -= 1


class Flood:
    """A platform that sends large previews as fast as they are taken; `sent` counts them."""

    def __init__(self, platform: PublicPlatform, size_bytes: int = 64 << 10) -> None:
        self.sent = 0
        self.watching = 0
        self._preview = bytes(size_bytes)
        platform.streams |= {WATCH_JOB: self._watch, WATCH_JOBS: self._watch}

    async def _watch(self, _: Message) -> AsyncIterator[Message]:
        self.watching += 1
        try:
            while True:
                self.sent += 1
                progress = job_event_pb2.JobProgress(step=self.sent, preview_jpeg=self._preview)
                yield job_event_pb2.JobEvent(event_id=f"1-{self.sent}", job_id=JOB_ID, progress=progress)
        finally:
            self.watching -= 1


_DETAILS = {
    "queued": job_event_pb2.JobQueued,
    "started": job_event_pb2.JobStarted,
    "progress": job_event_pb2.JobProgress,
    "completed": job_event_pb2.JobCompleted,
    "failed": job_event_pb2.JobFailed,
    "cancelled": job_event_pb2.JobCancelled,
}
