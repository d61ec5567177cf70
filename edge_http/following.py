"""Follows a stream of job events across restarts of the service: a call that is cut continues behind the last event."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Final

import grpc
import grpc.aio
from pingvas.generation.v1 import generation_service_pb2, job_event_pb2
from starlette.requests import HTTPConnection

from edge_http.answers import refusal_of
from edge_http.compat.credentials import CallerCalls
from edge_http.routing import Route
from edge_http.streams import messages_until

_RECONNECTIONS: Final = 5
_RECONNECTION_SECONDS: Final = 0.5

WatchRequest = generation_service_pb2.WatchJobRequest | generation_service_pb2.WatchJobsRequest


async def follow(
    calls: CallerCalls, route: Route, message: WatchRequest, request: HTTPConnection, stopping: asyncio.Event
) -> AsyncGenerator[job_event_pb2.JobEvent, None]:
    """Yields the events of a watch call, heartbeats included, until the call or this process ends.

    `message.after` moves with the events. The service may be unavailable for some seconds between two of them.

    Raises:
        ServiceError: what the service refuses, or DEPENDENCY_UNAVAILABLE when it stays away.
    """
    failures = 0
    while True:
        call = await calls.stream(route, message, request)
        try:
            event: job_event_pb2.JobEvent
            async for event in messages_until(call, stopping):
                message.after = event.event_id or message.after
                failures = 0
                yield event
        except grpc.aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.UNAVAILABLE or failures == _RECONNECTIONS:
                raise refusal_of(error, route.method.area) from error
        else:
            return
        failures += 1
        await asyncio.sleep(_RECONNECTION_SECONDS * failures)
