"""WebSocket at /ws/queue/{queue_id}: the events of an account's jobs, or of one of them, each a JSON text message.

The connection is accepted before the credential is known, because a browser shows its page nothing of a refused handshake:
what is wrong comes as a message `{"error": google.rpc.Status}`, followed by the close. The credential never stands in the
address, which proxies log.
"""

import asyncio
from collections.abc import Mapping
from contextlib import aclosing
from typing import Final

import structlog
from google.rpc import status_pb2
from starlette.requests import HTTPConnection
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from edge_http.answers import defect, document_of, encoded, http_status_of, reason_of
from edge_http.compat.credentials import with_credential
from edge_http.documents import malformed, read_json
from edge_http.live.watching import Events, Watching
from svc_common.concurrency import end_tasks
from svc_common.errors import Reason, ServiceError
from svc_common.status import to_status

PATH: Final = "/ws/queue/{queue_id}"
PROTOCOL: Final = "pingvas.v1"
_CREDENTIAL_PROTOCOL: Final = "bearer."
_AUTHORIZATION: Final = "authorization"
_PARAMETERS: Final = frozenset({"after", "job_id"})
_HELLO_FIELDS: Final = frozenset({"token", "after"})
_HELLO_SECONDS: Final = 10.0
_DONE: Final = 1000
_RESTARTING: Final = 1012
# Codes from 4000 are an application's own; the HTTP status of the reason follows.
_REFUSED: Final = 4000

_log: Final = structlog.get_logger("edge_http.live")


class QueueSocket:
    """Serves the sockets of one process."""

    def __init__(self, watching: Watching, stopping: asyncio.Event, hello_seconds: float = _HELLO_SECONDS) -> None:
        """Takes how long a client without a credential in its headers may take for its first message."""
        self._watching = watching
        self._stopping = stopping
        self._hello_seconds = hello_seconds

    @property
    def route(self) -> WebSocketRoute:
        """The route of the sockets."""
        return WebSocketRoute(PATH, endpoint=self.serve)

    async def serve(self, socket: WebSocket) -> None:
        """Serves one socket until its stream or its client ends."""
        offered = socket.scope["subprotocols"]
        # Not the one that holds the credential, which would be repeated in the answer.
        await socket.accept(subprotocol=PROTOCOL if PROTOCOL in offered else None)
        try:
            await self._serve(socket)
        except ServiceError as refusal:
            await _refuse(socket, to_status(refusal))
        except WebSocketDisconnect:
            pass
        except Exception as error:  # noqa: BLE001 - whatever it is, the client is answered
            _log.error("live.failed", exc_info=error)
            await _refuse(socket, defect())

    async def _serve(self, socket: WebSocket) -> None:
        parameters = _parameters(socket)
        caller, hello = await self._hello(socket)
        after = hello.get("after", parameters.get("after", ""))
        if "job_id" in parameters:
            events = self._watching.job(parameters["job_id"], after, caller)
        else:
            events = await self._watching.queue(socket.path_params["queue_id"], after, caller)
        forwarding = asyncio.create_task(_forward(socket, events))
        listening = asyncio.create_task(_expect_silence(socket))
        try:
            await asyncio.wait({forwarding, listening}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            ended = forwarding if forwarding.done() else listening
            await end_tasks(*{forwarding, listening} - {ended})
        await ended
        await socket.close(_RESTARTING if self._stopping.is_set() else _DONE)

    async def _hello(self, socket: WebSocket) -> tuple[HTTPConnection, Mapping[str, str]]:
        """Returns the connection with its credential, and what the first message says when that brought it."""
        for protocol in socket.scope["subprotocols"]:
            if protocol.startswith(_CREDENTIAL_PROTOCOL):
                return with_credential(socket.scope, protocol.removeprefix(_CREDENTIAL_PROTOCOL)), {}
        if _AUTHORIZATION in socket.headers:
            return socket, {}
        try:
            async with asyncio.timeout(self._hello_seconds):
                hello = read_json((await _text_of(socket)).encode())
        except TimeoutError:
            raise ServiceError(
                Reason.CREDENTIALS_MISSING,
                'No credential came. Send {"token": "..."} first, or the subprotocols pingvas.v1 and bearer.<token>.',
            ) from None
        if not isinstance(hello, dict) or not set(hello) <= _HELLO_FIELDS:
            raise malformed(f"The first message must be a JSON object with {' and '.join(sorted(_HELLO_FIELDS))} only.")
        for name, value in hello.items():
            if not isinstance(value, str):
                raise malformed(f"{name} must be a string.", name)
        return with_credential(socket.scope, hello.get("token", "")), hello


async def _forward(socket: WebSocket, events: Events) -> None:
    """Sends events as they come; a send waits for a slow reader, and the call with it (http_protocol.py)."""
    async with aclosing(events):
        async for event in events:
            await socket.send_text(encoded(document_of(event)).decode())


def _parameters(socket: WebSocket) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in socket.query_params.multi_items():
        if name not in _PARAMETERS or name in found:
            raise malformed(
                f"The address may have {' and '.join(sorted(_PARAMETERS))} once each, and never a credential, because "
                "addresses are logged."
            )
        found[name] = value
    return found


async def _expect_silence(socket: WebSocket) -> None:
    """Returns never: a client that leaves, or says something where nothing is asked, is an exception."""
    await _text_of(socket)
    raise malformed("Nothing was asked. Open another socket to watch something else.")


async def _text_of(socket: WebSocket) -> str:
    message = await socket.receive()
    if message["type"] == "websocket.disconnect":
        raise WebSocketDisconnect(message.get("code", _DONE))
    text = message.get("text")
    if text is None:
        raise malformed("Messages must be text.")
    return str(text)


async def _refuse(socket: WebSocket, status: status_pb2.Status) -> None:
    """Says what is wrong and closes; the code of the close has the HTTP status, its text the reason's name."""
    try:
        await socket.send_text(encoded({"error": document_of(status)}).decode())
        await socket.close(_REFUSED + http_status_of(status), reason_of(status))
    except (WebSocketDisconnect, RuntimeError):
        return  # it has gone
