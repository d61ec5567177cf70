"""Streams over HTTP: server-sent events that EventSource can resume and knows the end of, or one JSON document a line.

The place to go on from is the request's field `after`, and a message names its own place in `event_id`. The last one that
a browser saw comes back as `Last-Event-ID`. A stream that ends without a message behind that place has nothing more to
say, now or later: 204 tells EventSource to reconnect no more (HTML, section 9.2.3).
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any, Final

import grpc.aio
from fastapi import Request, Response
from fastapi.responses import StreamingResponse
from google.protobuf.message import Message
from google.rpc import status_pb2

from edge_http.answers import document_of, encoded, refused, status_of
from svc_common.concurrency import end_tasks

RESUME_HEADER: Final = "last-event-id"
RESUME_FIELD: Final = "after"
_PLACE_FIELD: Final = "event_id"
_HEARTBEAT_FIELD: Final = "heartbeat"

_NDJSON: Final = "application/x-ndjson"
_SSE: Final = "text/event-stream"
_HEADERS: Final = {
    "cache-control": "no-store",
    # nginx would collect the events of a minute.
    "x-accel-buffering": "no",
}
# Short, because whoever is cut off has missed something; long enough for a server that restarts.
_RETRY_LINE: Final = b"retry: 2000\n\n"
_HEARTBEAT: Final = b": heartbeat\n\n"


async def answer_stream(call: Any, area: str, request: Request, stopping: asyncio.Event) -> Response:
    """Returns the answer to a streaming call; what fails before its first message is a plain refusal."""
    ndjson = _NDJSON in request.headers.get("accept", "")
    messages = messages_until(call, stopping)
    try:
        first = await anext(messages, None)
    except grpc.aio.AioRpcError as error:
        return refused(status_of(error, area))
    except BaseException:
        call.cancel()
        raise
    if first is None and not stopping.is_set():
        return Response(status_code=204, headers={"cache-control": "no-store"})
    lines = _lines(first, messages, call, area, ndjson=ndjson)
    # Given as a header, since Starlette adds a charset to types of text: server-sent events are always UTF-8.
    headers = {**_HEADERS, "content-type": _NDJSON if ndjson else _SSE}
    return StreamingResponse(lines, headers=headers)


async def _lines(
    first: Message | None, messages: AsyncIterator[Message], call: Any, area: str, *, ndjson: bool
) -> AsyncIterator[bytes]:
    """Yields the stream as it is sent; an end of the client's cancels the call."""
    try:
        if not ndjson:
            yield _RETRY_LINE
        if first is not None:
            yield _line(first, ndjson=ndjson)
            async for message in messages:
                yield _line(message, ndjson=ndjson)
    except grpc.aio.AioRpcError as error:
        yield _failure(status_of(error, area), ndjson=ndjson)
    finally:
        call.cancel()


async def messages_until(call: Any, stopping: asyncio.Event) -> AsyncIterator[Any]:
    """Yields the messages of a call until it ends or this process stops."""
    stop = asyncio.create_task(stopping.wait())
    arrivals = aiter(call)
    arrival: asyncio.Task[Any] | None = None
    try:
        while True:
            arrival = asyncio.ensure_future(anext(arrivals))
            await asyncio.wait({arrival, stop}, return_when=asyncio.FIRST_COMPLETED)
            if not arrival.done():
                return
            try:
                message = arrival.result()
            except StopAsyncIteration:
                return
            yield message
    finally:
        call.cancel()
        stop.cancel()
        if arrival is not None and not arrival.done():
            with suppress(grpc.aio.AioRpcError):
                await end_tasks(arrival)


def _line(message: Message, *, ndjson: bool) -> bytes:
    """Returns one message: `id:` and `data:`, or a comment for a heartbeat, which is nothing that a page must see."""
    if ndjson:
        return encoded(document_of(message)) + b"\n"
    names = message.DESCRIPTOR.fields_by_name
    place = getattr(message, _PLACE_FIELD) if _PLACE_FIELD in names else ""
    if not place and _HEARTBEAT_FIELD in names and message.HasField(_HEARTBEAT_FIELD):
        return _HEARTBEAT
    data = b"data: " + encoded(document_of(message)) + b"\n\n"
    # A browser would end the line at a line break, and drop an id with NUL.
    return b"id: " + place.encode() + b"\n" + data if place and place.isprintable() else data


def _failure(status: status_pb2.Status, *, ndjson: bool) -> bytes:
    """Returns the last thing that a broken stream says."""
    document = encoded(document_of(status))
    return encoded({"error": document_of(status)}) + b"\n" if ndjson else b"event: error\ndata: " + document + b"\n\n"
