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
SECOND_FACTOR_PATH: Final = f"{PATH}/second-factor"
_CHALLENGE: Final = "pingvas-challenge"
_NAME: Final = "pingvas-refresh"
_LIFE_SECONDS: Final = 30 * 24 * 3600
_OK: Final = 200
_NO_CONTENT: Final = 204


class Sessions:
    """Begins, continues and ends the session of a browser."""

    def __init__(self, router: Router, calls: Calls, *, is_secure: bool) -> None:
        """Takes whether pages are served by https: without it browsers would refuse a `__Secure-` cookie."""
        self._login = _route(router, "login")
        self._refresh = _route(router, "refresh")
        self._logout = _route(router, "logout")
        self._second_factor = _route(router, "second-factor")
        self._calls = calls
        self._is_secure = is_secure
        prefix = "__Secure-" if is_secure else ""
        self._name, self._challenge = f"{prefix}{_NAME}", f"{prefix}{_CHALLENGE}"

    async def begin(self, request: Request) -> Response:
        """Logs in with `{"email", "password"}` and answers with an access token, or that a second step is needed."""
        refuse_other_origins(request)
        document = read_json(await body_of(request))
        if not isinstance(document, dict):
            raise malformed("The body must be a JSON object.")
        message = message_of(self._login.request_class, document, "")
        return await self._tokens(self._login, message, request)

    async def complete(self, request: Request) -> Response:
        """Takes the second step of signing in with `{"code"}`, for the cookie's challenge."""
        refuse_other_origins(request)
        document = read_json(await body_of(request))
        if not isinstance(document, dict):
            raise malformed("The body must be a JSON object.")
        # Without one, svc_user says that it has expired, which is what happened to the cookie.
        challenge = request.cookies.get(self._challenge) or "expired"
        message = message_of(self._second_factor.request_class, {**document, "challenge": challenge}, "")
        response = await self._tokens(self._second_factor, message, request)
        if response.status_code == _OK:
            self._forget_challenge(response)
        return response

    async def renew(self, request: Request) -> Response:
        """Answers with a new access token for the cookie's refresh token, which is replaced; with nothing without one.

        A page asks this whenever it is opened, and that nobody is signed in yet is no error.
        """
        refuse_other_origins(request)
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
        refuse_other_origins(request)
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
        document.pop("refresh_token", None)
        if "second_factor" in document:
            document["second_factor"].pop("challenge")
        response = Response(encoded(document), media_type=JSON, headers={"cache-control": "no-store"})
        self.keep(response, pair)
        return response

    def keep(self, response: Response, pair: auth_service_pb2.TokenPair) -> None:
        """Lets an answer leave with the browser what it needs next: a session's refresh token, or a challenge."""
        if pair.HasField("second_factor"):
            self._set(response, self._challenge, pair.second_factor.challenge, pair.second_factor.expires_in)
        else:
            self._set(response, self._name, pair.refresh_token, _LIFE_SECONDS)

    def _set(self, response: Response, name: str, value: str, seconds: int) -> None:
        response.set_cookie(
            name,
            value,
            max_age=seconds,
            path=PATH,
            secure=self._is_secure,
            httponly=True,
            samesite="strict",
        )

    def _forget_challenge(self, response: Response) -> None:
        response.delete_cookie(self._challenge, path=PATH, secure=self._is_secure, httponly=True, samesite="strict")

    def _forget(self, response: Response) -> None:
        response.delete_cookie(self._name, path=PATH, secure=self._is_secure, httponly=True, samesite="strict")


def _route(router: Router, name: str) -> Route:
    match = router.find("POST", f"/api/v1/auth/{name}")
    if not isinstance(match, Match):
        raise TypeError(f"the contract has no way to {name}")
    return match.route


def refuse_other_origins(request: Request) -> None:
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
