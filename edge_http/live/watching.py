"""Which watch call a socket's wish means: both kinds of sockets speak of an account's queue, or of one of its jobs."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Final, TypeAlias

from pingvas.generation.v1 import generation_service_pb2, job_event_pb2
from pingvas.user.v1 import user_pb2, user_service_pb2
from starlette.requests import HTTPConnection

from edge_http.compat.credentials import CallerCalls
from edge_http.documents import malformed
from edge_http.following import WatchRequest, follow
from edge_http.routing import Route, Router

_DEFAULT_QUEUE: Final = "default"

Events: TypeAlias = AsyncGenerator[job_event_pb2.JobEvent, None]


class Watching:
    """Opens watch calls for sockets."""

    def __init__(self, router: Router, calls: CallerCalls, stopping: asyncio.Event) -> None:
        """Takes what calls go through; `stopping` ends the streams."""
        self._watch_job = router.named("GenerationService.WatchJob")
        self._watch_jobs = router.named("GenerationService.WatchJobs")
        self._get_me = router.named("UserService.GetMe")
        self._calls = calls
        self._stopping = stopping

    def job(self, job_id: str, after: str, caller: HTTPConnection) -> Events:
        """Yields the events of one job to the terminal one; raises ServiceError."""
        message = generation_service_pb2.WatchJobRequest(job_id=job_id, after=after)
        return self._follow(self._watch_job, message, caller)

    async def queue(self, queue_id: str, after: str, caller: HTTPConnection) -> Events:
        """Returns what yields the events of all jobs of the caller's account, without end.

        Raises:
            ServiceError: REQUEST_MALFORMED, when the queue is neither `default`, as in InvokeAI, nor the account's id.
        """
        if queue_id not in ("", _DEFAULT_QUEUE):
            me: user_pb2.User = await self._calls.answer(self._get_me, user_service_pb2.GetMeRequest(), caller)
            if queue_id != me.account_id:
                raise malformed(f"The queue must be `{_DEFAULT_QUEUE}` or the id of your account.", "queue_id")
        return self._follow(self._watch_jobs, generation_service_pb2.WatchJobsRequest(after=after), caller)

    def _follow(self, route: Route, message: WatchRequest, caller: HTTPConnection) -> Events:
        return follow(self._calls, route, message, caller, self._stopping)
