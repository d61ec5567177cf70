"""The credential of a request to another product's API: an access token, or an API key in its place.

Elsewhere the edge puts a token in a key's place (edge_envoy/api_key.lua). Not here: such a request waits for its pictures
longer than the token of a key lives, so that each call that it causes gets one that is still good. What is the same
caller is told by the key, too.
"""

import base64
import binascii
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Final

import grpc.aio
from google.protobuf.message import Message
from pingvas.user.v1 import api_key_service_pb2
from starlette.requests import HTTPConnection
from starlette.types import Scope

from edge_http.answers import refusal_of
from edge_http.calls import Calls
from edge_http.routing import Route, Router
from svc_common.errors import Reason, ServiceError

_BEARER: Final = "bearer"
_BASIC: Final = "basic"
_KEY_PREFIX: Final = "pgv_"
# More is no key, and refused without a word of what it may be.
_MOST_CHARACTERS: Final = 128
# Half of a token's life, so that it doesn't end on its way.
_KEPT_SECONDS: Final = 30.0
_MOST_KEPT: Final = 1000


def credential_of(request: HTTPConnection) -> str:
    """Returns the access token or API key of a request, a bearer's or the password of Basic; the services judge its worth.

    Raises:
        ServiceError: CREDENTIALS_MISSING.
    """
    scheme, _, sent = request.headers.get("authorization", "").partition(" ")
    credential = _password(sent) if scheme.lower() == _BASIC else sent.strip() if scheme.lower() == _BEARER else ""
    if not credential:
        raise ServiceError(
            Reason.CREDENTIALS_MISSING,
            "You didn't provide an API key. Send it as `authorization: Bearer ...`, or as the password of Basic.",
        )
    return credential


def with_credential(scope: Scope, credential: str) -> HTTPConnection:
    """Returns a connection as if its headers had brought a credential that came elsewhere, such as in its first message.

    Raises:
        ServiceError: CREDENTIALS_MISSING, for one that no header can hold.
    """
    if not (credential.isascii() and credential.isprintable()):
        credential = ""
    name = b"authorization"
    headers = [header for header in scope["headers"] if header[0] != name]
    connection = HTTPConnection({**scope, "headers": [*headers, (name, b"Bearer " + credential.encode("ascii"))]})
    credential_of(connection)
    return connection


def _password(encoded: str) -> str:
    """Returns the password of Basic (RFC 7617), whoever it is said to belong to; what can't be read is none."""
    try:
        return base64.b64decode(encoded.strip(), validate=True).decode("utf-8").partition(":")[2].strip()
    except (binascii.Error, ValueError):
        return ""


class CallerCalls:
    """Calls for callers who may have an API key."""

    def __init__(self, router: Router, calls: Calls, seconds: Callable[[], float] = time.monotonic) -> None:
        """Takes what calls go through, and a clock."""
        self._exchange = router.named("ApiKeyService.ExchangeApiKey")
        self._calls = calls
        self._seconds = seconds
        self._kept: OrderedDict[str, tuple[float, str]] = OrderedDict()

    async def unary(self, route: Route, message: Message, request: HTTPConnection) -> Any:
        """Makes a call that is answered once; raises AioRpcError, or ServiceError for a key without a token."""
        return await self._calls.unary(route, message, request, await self._authorization(request))

    async def answer(self, route: Route, message: Message, request: HTTPConnection) -> Any:
        """Makes a call that is answered once; raises ServiceError, whatever the refusal."""
        try:
            return await self.unary(route, message, request)
        except grpc.aio.AioRpcError as error:
            raise refusal_of(error, route.method.area) from error

    async def stream(self, route: Route, message: Message, request: HTTPConnection) -> Any:
        """Begins a call that is answered by a stream; raises ServiceError for a key without a token."""
        return self._calls.stream(route, message, request, await self._authorization(request))

    async def _authorization(self, request: HTTPConnection) -> str:
        credential = credential_of(request)
        is_key = credential.startswith(_KEY_PREFIX)
        return f"Bearer {await self._token_of(credential, request) if is_key else credential}"

    async def _token_of(self, key: str, request: HTTPConnection) -> str:
        """Returns a token that lives for half a minute at least."""
        ends, token = self._kept.get(key, (0.0, ""))
        if token and self._seconds() < ends:
            return token
        if len(key) > _MOST_CHARACTERS:
            raise ServiceError(Reason.API_KEY_INVALID, "The API key is malformed. Make another.")
        ends = self._seconds() + _KEPT_SECONDS
        message = api_key_service_pb2.ExchangeApiKeyRequest(key=key)
        try:
            answer: api_key_service_pb2.ExchangeApiKeyResponse
            answer = await self._calls.unary(self._exchange, message, request, authorization="")
        except grpc.aio.AioRpcError as error:
            raise refusal_of(error, self._exchange.method.area) from error
        self._kept[key] = ends, answer.access_token
        self._kept.move_to_end(key)
        if len(self._kept) > _MOST_KEPT:
            self._kept.popitem(last=False)
        return answer.access_token
