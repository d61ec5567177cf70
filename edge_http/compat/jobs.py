"""Jobs for APIs whose caller waits in one request for the picture: begun once, however often the request is repeated.

A caller who hangs up may be about to repeat the request, as the clients of such APIs do by themselves, and the job would
be paid for twice. So the job is left alone for some seconds, in which the same request finds it again; then it is
cancelled. What is known here is lost with the process: an idempotency key holds across processes, since CreateJob knows it.
"""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

import grpc.aio
import structlog
from fastapi import Request
from pingvas.common.v1 import error_reason_pb2
from pingvas.generation.v1 import generation_service_pb2, job_event_pb2, job_pb2

from edge_http.answers import refusal_of
from edge_http.compat.credentials import CallerCalls, credential_of
from edge_http.following import follow
from edge_http.routing import Router
from svc_common.clock import new_id
from svc_common.concurrency import is_set_within
from svc_common.errors import Reason, ServiceError, dependency_unavailable

TERMINAL: Final = frozenset({"completed", "failed", "cancelled"})
_KEY_HEADER: Final = "idempotency-key"
# Set by the clients that OpenAI generates (Stainless) to the number of attempts before this one.
_RETRY_HEADER: Final = "x-stainless-retry-count"
# As long as a client may still repeat a request that was answered without its knowing.
_REMEMBERED_SECONDS: Final = 60.0

_log: Final = structlog.get_logger("edge_http.compat")


@dataclass(slots=True, eq=False)
class Begun:
    """A job that a request began, how many requests wait for it, and how far it is."""

    likeness: str
    has_key: bool
    request: Request
    creating: "asyncio.Task[str]"
    waiting: int = 0
    has_ended: bool = False
    is_answered: bool = False
    leaving: "asyncio.Task[None] | None" = None
    queued: job_event_pb2.JobQueued | None = None
    """What was last said of its place in the queue; None once a worker has begun."""
    progress: job_event_pb2.JobProgress | None = None
    preview_jpeg: bytes = b""

    def take(self, event: job_event_pb2.JobEvent) -> None:
        """Takes what an event says of how far the job is."""
        kind = event.WhichOneof("detail")
        if kind in ("queued", "started"):  # from the beginning, when an attempt was lost
            self.queued = event.queued if kind == "queued" else None
            self.progress, self.preview_jpeg = None, b""
        elif kind == "progress":
            self.queued, self.progress = None, event.progress
            self.preview_jpeg = event.progress.preview_jpeg or self.preview_jpeg


class Jobs:
    """The jobs that requests wait for."""

    def __init__(self, router: Router, calls: CallerCalls, stopping: asyncio.Event, grace: timedelta) -> None:
        """Takes how long a job goes on after its last caller has hung up."""
        self._create_job = router.named("GenerationService.CreateJob")
        self._watch_job = router.named("GenerationService.WatchJob")
        self._cancel_job = router.named("GenerationService.CancelJob")
        self._calls = calls
        self._stopping = stopping
        self._grace_seconds = grace.total_seconds()
        self._closing = asyncio.Event()
        self._begun: dict[str, Begun] = {}
        # Also those that an equal request has taken the place of; a dict keeps the order.
        self._open: dict[Begun, None] = {}
        self._leaving: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def begun(
        self, message: generation_service_pb2.CreateJobRequest, request: Request, content: bytes
    ) -> AsyncIterator[AsyncIterator[job_event_pb2.JobEvent]]:
        """Begins a job, or finds the one that the same request has begun, and gives its events to the terminal one.

        `content` is what makes two requests of a caller the same. The events raise ServiceError as well.

        Raises:
            ServiceError: the job was refused.
        """
        likeness = _likeness(request, content)
        begun = self._known(likeness, request) or self._begin(likeness, message, request)
        begun.waiting += 1
        if begun.leaving is not None:
            begun.leaving.cancel()
            begun.leaving = None
        try:
            job_id = await asyncio.shield(begun.creating)
            yield self._events(job_id, begun, request)
            begun.is_answered = True
        finally:
            self._leave(begun)

    async def _events(self, job_id: str, begun: Begun, request: Request) -> AsyncIterator[job_event_pb2.JobEvent]:
        """Yields a job's events; a stream that is cut goes on where it was."""
        message = generation_service_pb2.WatchJobRequest(job_id=job_id)
        async for event in follow(self._calls, self._watch_job, message, request, self._stopping):
            kind = event.WhichOneof("detail")
            begun.take(event)
            begun.has_ended = kind in TERMINAL
            if kind in TERMINAL - {"completed"}:
                self._forget(begun)  # repeated, it may go better
            yield event
            if begun.has_ended:
                return
        raise dependency_unavailable("edge_http", "The connection was lost. Repeat the request.")

    def open_for(self, request: Request, prefix: str) -> list[Begun]:
        """Returns the jobs of a request's caller that haven't ended, the oldest first; those begun below a prefix only.

        Jobs that are left alone until their request comes again are among them.
        """
        credential = credential_of(request)
        mine = [begun for begun in self._open if not begun.has_ended and begun.request.url.path.startswith(prefix)]
        return [begun for begun in mine if credential_of(begun.request) == credential]

    async def interrupt(self, begun: Begun) -> None:
        """Cancels a job, whoever waits for it.

        Raises:
            ServiceError: it may go on, because a service doesn't answer or the caller may not cancel it.
        """
        try:
            job_id = await asyncio.shield(begun.creating)
        except ServiceError:
            return  # it was refused, and there is no job
        message = generation_service_pb2.CancelJobRequest(job_id=job_id)
        try:
            await self._calls.unary(self._cancel_job, message, begun.request)
        except grpc.aio.AioRpcError as error:
            refusal = refusal_of(error, self._cancel_job.method.area)
            if refusal.reason is not Reason.JOB_ALREADY_ENDED:
                raise refusal from error

    async def close(self) -> None:
        """Cancels at once what nobody waits for any more; a request with a key may be repeated at another process."""
        self._closing.set()
        await asyncio.gather(*self._leaving, return_exceptions=True)

    def _known(self, likeness: str, request: Request) -> Begun | None:
        """Returns the job that the same request has begun, if this one repeats that.

        Without a key two equal requests may mean two jobs. One is repeated when its caller has gone without the pictures, or
        the client says so.
        """
        begun = self._begun.get(likeness)
        if begun is None:
            return None
        says_so = request.headers.get(_RETRY_HEADER, "0") != "0"
        return begun if begun.has_key or says_so or (begun.waiting == 0 and not begun.is_answered) else None

    def _begin(self, likeness: str, message: generation_service_pb2.CreateJobRequest, request: Request) -> Begun:
        key = request.headers.get(_KEY_HEADER)
        message.request_id = key or f"edge-{new_id()}"
        begun = Begun(likeness, key is not None, request, asyncio.create_task(self._create(message, request)))
        self._begun[likeness] = begun
        self._open[begun] = None
        return begun

    async def _create(self, message: generation_service_pb2.CreateJobRequest, request: Request) -> str:
        try:
            job: job_pb2.Job = await self._calls.unary(self._create_job, message, request)
        except grpc.aio.AioRpcError as error:
            raise refusal_of(error, self._create_job.method.area) from error
        return job.job_id

    def _leave(self, begun: Begun) -> None:
        begun.waiting -= 1
        if begun.waiting:
            return
        if begun.creating.done() and (begun.creating.cancelled() or begun.creating.exception()):
            self._forget(begun)
            self._open.pop(begun, None)
        elif begun.has_ended:
            self._open.pop(begun, None)
            asyncio.get_running_loop().call_later(_REMEMBERED_SECONDS, self._forget, begun)
        else:
            begun.leaving = asyncio.create_task(self._cancel_later(begun))
            self._leaving.add(begun.leaving)
            begun.leaving.add_done_callback(self._leaving.discard)

    async def _cancel_later(self, begun: Begun) -> None:
        is_closing = await is_set_within(self._closing, self._grace_seconds)
        self._forget(begun)
        self._open.pop(begun, None)
        if is_closing and begun.has_key:
            return
        try:
            message = generation_service_pb2.CancelJobRequest(job_id=await begun.creating)
            await self._calls.unary(self._cancel_job, message, begun.request)
        except Exception as error:  # noqa: BLE001 - it has ended by itself, or its caller may no longer cancel it
            _log.info("compat.job_not_cancelled", error=str(error))

    def _forget(self, begun: Begun) -> None:
        if self._begun.get(begun.likeness) is begun:
            del self._begun[begun.likeness]


def finished_images(event: job_event_pb2.JobEvent) -> list[job_pb2.JobImage] | None:
    """Returns the pictures of a job that is completed, or None while it goes on.

    Raises:
        ServiceError: it failed or was cancelled.
    """
    kind = event.WhichOneof("detail")
    if kind == "failed":
        name = error_reason_pb2.ErrorReason.Name(event.failed.reason).removeprefix("ERROR_REASON_")
        reason = Reason(name) if name in list(Reason) else Reason.INTERNAL
        raise ServiceError(reason, event.failed.message)
    if kind == "cancelled":
        raise ServiceError(Reason.JOB_ALREADY_ENDED, "The job was cancelled.")
    return list(event.completed.images) if kind == "completed" else None


def _likeness(request: Request, content: bytes) -> str:
    """Returns what is the same for the same request of the same caller."""
    parts = (credential_of(request), request.headers.get(_KEY_HEADER, ""), request.url.path)
    hashed = hashlib.sha256(content)
    for part in parts:
        hashed.update(hashlib.sha256(part.encode("utf-8", "surrogateescape")).digest())
    return hashed.hexdigest()
