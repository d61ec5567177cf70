"""Sessions of browsers: the refresh token is kept in a cookie that no script can read, and never leaves it.

A page gets access tokens, which live for ten minutes. What it needs beyond AuthService is only where the other token is
kept: the methods behind these routes are those of the contract.
"""

from typing import Final
from urllib.parse import urlsplit

import grpc.aio
from fastapi import Request, Response
from google.protobuf.message import Message
from pingvas.user.v1 import auth_service_pb2

from edge_http.answers import JSON, document_of, encoded, refused, status_of
from edge_http.calls import Calls
from edge_http.documents import body_of, malformed, message_of, read_json
from edge_http.routing import Match, Route, Router
from svc_common.errors import Reason, ServiceError

PATH: Final = "/session"
REFRESH_PATH: Final = f"{PATH}/refresh"
_NAME: Final = "pingvas-refresh"
_LIFE_SECONDS: Final = 30 * 24 * 3600
_NO_CONTENT: Final = 204


class Sessions:
    """Begins, continues and ends the session of a browser."""

    def __init__(self, router: Router, calls: Calls, *, is_secure: bool) -> None:
        """Takes whether pages are served by https: without it browsers would refuse a `__Secure-` cookie."""
        self._login = _route(router, "login")
        self._refresh = _route(router, "refresh")
        self._logout = _route(router, "logout")
        self._calls = calls
        self._is_secure = is_secure
        self._name = f"__Secure-{_NAME}" if is_secure else _NAME

    async def begin(self, request: Request) -> Response:
        """Logs in with `{"email", "password"}` and answers with an access token."""
        _refuse_other_origins(request)
        document = read_json(await body_of(request))
        if not isinstance(document, dict):
            raise malformed("The body must be a JSON object.")
        message = message_of(self._login.request_class, document, "")
        return await self._tokens(self._login, message, request)

    async def renew(self, request: Request) -> Response:
        """Answers with a new access token for the cookie's refresh token, which is replaced; with nothing without one.

        A page asks this whenever it is opened, and that nobody is signed in yet is no error.
        """
        _refuse_other_origins(request)
        token = request.cookies.get(self._name)
        if not token:
            return Response(status_code=_NO_CONTENT)
        message = auth_service_pb2.RefreshRequest(refresh_token=token)
        response = await self._tokens(self._refresh, message, request)
        if response.status_code in (400, 401):  # it will never be good again
            self._forget(response)
        return response

    async def end(self, request: Request) -> Response:
        """Revokes the session's tokens and removes the cookie; does nothing where there is none."""
        _refuse_other_origins(request)
        response = Response(status_code=_NO_CONTENT)
        if token := request.cookies.get(self._name):
            message = auth_service_pb2.LogoutRequest(refresh_token=token)
            try:
                await self._calls.unary(self._logout, message, request)
            except grpc.aio.AioRpcError as error:
                response = refused(status_of(error, self._logout.method.area))
        self._forget(response)
        return response

    async def _tokens(self, route: Route, message: Message, request: Request) -> Response:
        try:
            pair: auth_service_pb2.TokenPair = await self._calls.unary(route, message, request)
        except grpc.aio.AioRpcError as error:
            return refused(status_of(error, route.method.area))
        document = document_of(pair)
        refresh_token = document.pop("refresh_token")
        response = Response(encoded(document), media_type=JSON, headers={"cache-control": "no-store"})
        response.set_cookie(
            self._name,
            refresh_token,
            max_age=_LIFE_SECONDS,
            path=PATH,
            secure=self._is_secure,
            httponly=True,
            samesite="strict",
        )
        return response

    def _forget(self, response: Response) -> None:
        response.delete_cookie(self._name, path=PATH, secure=self._is_secure, httponly=True, samesite="strict")


def _route(router: Router, name: str) -> Route:
    match = router.find("POST", f"/api/v1/auth/{name}")
    if not isinstance(match, Match):
        raise TypeError(f"the contract has no way to {name}")
    return match.route


def _refuse_other_origins(request: Request) -> None:
    """Refuses a page of another host, which a cookie would speak for: SameSite counts other ports as the same site.

    Programs send no origin. They have no cookie of anybody either.
    """
    origin = request.headers.get("origin")
    if origin is not None and urlsplit(origin).netloc != request.headers.get("host"):
        raise ServiceError(
            Reason.CALLER_NOT_ALLOWED,
            "Sessions belong to the studio's own page. Use AuthService from other pages.",
            metadata={"caller": origin, "method": request.url.path},
        )
