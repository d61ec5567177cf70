"""HTTP and WebSocket as uvicorn speaks them, but for two things.

What is no HTTP is refused by a google.rpc.Status like everything else. A WebSocket client that doesn't read is closed with
a reason, and cut off when it doesn't read that either: uvicorn would wait for it as long as the connection lasts.
"""

import asyncio
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.utils import ClientDisconnected
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from edge_http.answers import refused
from svc_common.errors import Reason, ServiceError
from svc_common.status import to_status

TOO_SLOW: Final = 4408
"""The code with which a slow reader's socket is closed."""

# Clients say little: a credential, and what they subscribe to.
SOCKET_MESSAGE_BYTES: Final = 64 << 10
_BAD_REQUEST: Final = 400
_TELLING: Final = "The request isn't valid HTTP, or its headers are larger than 64 KiB."
_TOO_SLOW_TELLING: Final = "Events were not read for too long. Connect again with the last event_id as `after`."


class StatusProtocol(H11Protocol):
    """Answers unreadable requests, of which no application hears, in the form of the platform's refusals."""

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - uvicorn's words say less
        """Sends the refusal and closes the connection."""
        answer = refused(to_status(ServiceError(Reason.REQUEST_MALFORMED, _TELLING)))
        headers = [*answer.raw_headers, (b"connection", b"close")]
        start = h11.Response(status_code=_BAD_REQUEST, headers=headers, reason=b"Bad Request")
        for event in (start, h11.Data(data=bytes(answer.body)), h11.EndOfMessage()):
            self.transport.write(self.conn.send(event) or b"")
        self.transport.close()


class PatientSocketProtocol(WebSocketsSansIOProtocol):
    """Bounds how long a client may leave unread what was sent: at most 64 KiB of it lie here, and more in the kernel."""

    patience_seconds = 20.0

    async def send(self, message: Any) -> None:
        """Sends a message when there is room for it.

        Raises:
            ClientDisconnected: the client has gone, or was closed because it didn't read.
        """
        if message["type"] == "websocket.close":
            # Goes behind what is unread. The buffer grows by a few bytes.
            self.writable.set()
        else:
            await self._until_writable()
        await super().send(message)
        if self.close_sent and self.close_timer is not None:
            self.close_timer.cancel()
            self.close_timer = self.loop.call_later(self.close_timeout, self.transport.abort)

    def keepalive_timeout(self) -> None:
        """Cuts a client off that answers no ping; closing would wait until it has read everything."""
        super().keepalive_timeout()
        self.transport.abort()

    async def _until_writable(self) -> None:
        try:
            async with asyncio.timeout(self.patience_seconds):
                await self.writable.wait()
        except TimeoutError:
            await self.send({"type": "websocket.close", "code": TOO_SLOW, "reason": _TOO_SLOW_TELLING})
            raise ClientDisconnected from None


PROTOCOLS: Final[Mapping[str, Any]] = MappingProxyType(
    {
        # Seconds: longer than the edge keeps an idle connection, so that no request meets the closing of one.
        "timeout_keep_alive": 75,
        "http": StatusProtocol,
        "ws": PatientSocketProtocol,
        "ws_max_size": SOCKET_MESSAGE_BYTES,
        # Events are small or hold a JPEG, which no compression makes smaller.
        "ws_per_message_deflate": False,
        # uvicorn tells of each socket with its whole address, query included.
        "log_level": "warning",
        "log_config": None,
        "access_log": False,
    }
)
"""The settings of uvicorn by which it speaks so."""
