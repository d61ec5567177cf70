"""Signing in at a provider: the addresses that a browser is sent to, and those at which it comes back.

Codes are exchanged and identities kept by IdentityService. What is left to HTTP is to redirect, to keep the attempt's secret
in the browser meanwhile, and to tell the page how it ended. No token is ever part of an address: the session that begins is
in the cookie of `edge_http.session`, and a failure is named by its reason alone, for which the page has the words.
"""

from enum import StrEnum
from typing import Any, Final
from urllib.parse import urlencode

import grpc.aio
from fastapi import Request, Response
from google.rpc import error_details_pb2, status_pb2
from pingvas.user.v1 import identity_pb2, identity_service_pb2

from edge_http.answers import JSON, document_of, encoded, refused, status_of
from edge_http.calls import Calls
from edge_http.documents import body_of, malformed, message_of, read_json
from edge_http.own_routes import OwnRoute, own_route
from edge_http.page import wants_page
from edge_http.routing import Match, Route, Router
from edge_http.session import Sessions, refuse_other_origins

LINK_PATH: Final = "/session/identities"
PROVIDERS: Final = {"google": identity_pb2.PROVIDER_GOOGLE, "discord": identity_pb2.PROVIDER_DISCORD}

# Places of the studio's page.
_HOME: Final = "/"
_SIGN_IN: Final = "/sign-in"
_SECOND_STEP: Final = "/sign-in?step=code"
_IDENTITIES: Final = "/account/identities"

_COOKIE: Final = "pingvas-sign-in"
_COOKIE_PATH: Final = "/api/v1/auth"
_LIFE_SECONDS: Final = 10 * 60
_SEE_OTHER: Final = 303
_HEADERS: Final = {"cache-control": "no-store", "referrer-policy": "no-referrer"}


class _Purpose(StrEnum):
    SIGN_IN = "sign-in"
    LINK = "link"


def begin_path(provider: str) -> str:
    """Returns the address that leads a browser to a provider."""
    return f"/api/v1/auth/{provider}"


def callback_path(provider: str) -> str:
    """Returns the address at which it comes back."""
    return f"{begin_path(provider)}/callback"


class SignIns:
    """Leads browsers to providers and back."""

    def __init__(self, router: Router, calls: Calls, sessions: Sessions, *, is_secure: bool) -> None:
        """Takes whether pages are served by https: without it browsers would refuse a `__Secure-` cookie."""
        self._begin = _route(router, "/api/v1/auth/sign-ins")
        self._complete = _route(router, "/api/v1/auth/sign-ins/complete")
        self._link = _route(router, "/api/v1/users/me/identities")
        self._calls = calls
        self._sessions = sessions
        self._is_secure = is_secure
        self._name = f"__Secure-{_COOKIE}" if is_secure else _COOKIE

    @own_route(
        OwnRoute(
            ("GET",),
            tuple(map(begin_path, PROVIDERS)),
            "IdentityService.BeginSignIn",
            query={
                "port": "Where a command line listens on the loopback address.",
                "code_challenge": "The challenge of its secret (PKCE, S256).",
                "state": "What it is told again.",
            },
            answers={_SEE_OTHER: "To the provider; a browser also to the page that tells of a failure."},
        )
    )
    async def begin(self, request: Request) -> Response:
        """Sends a browser to a provider; with `port`, `code_challenge` and `state` it signs a command line in."""
        provider = _provider_of(request)
        fields: dict[str, Any] = {"provider": PROVIDERS[provider]}
        if loopback := dict(request.query_params):
            fields["loopback"] = loopback
        message = message_of(self._begin.request_class, fields)
        try:
            attempt = await self._calls.unary(self._begin, message, request)
        except grpc.aio.AioRpcError as error:
            return _failure(request, status_of(error, self._begin.method.area), provider, _SIGN_IN)
        response = _see_other(attempt.authorization_url)
        self._keep(response, _Purpose.SIGN_IN, attempt.browser_secret)
        return response

    async def link(self, request: Request) -> Response:
        """Begins to link `{"provider"}` to the caller, and answers with the address to open."""
        refuse_other_origins(request)
        document = read_json(await body_of(request))
        if not isinstance(document, dict):
            raise malformed("The body must be a JSON object.")
        message = message_of(self._link.request_class, document)
        try:
            attempt = await self._calls.unary(self._link, message, request)
        except grpc.aio.AioRpcError as error:
            return refused(status_of(error, self._link.method.area))
        document = document_of(attempt)
        secret = document.pop("browser_secret")
        response = Response(encoded(document), media_type=JSON, headers=_HEADERS)
        self._keep(response, _Purpose.LINK, secret)
        return response

    @own_route(
        OwnRoute(
            ("GET",),
            tuple(map(callback_path, PROVIDERS)),
            "IdentityService.CompleteSignIn",
            query={
                "state": "What the provider was told at the beginning.",
                "code": "The provider's code.",
                "error": "Why there is none.",
            },
            answers={_SEE_OTHER: "To the page, or to the command line that began."},
        )
    )
    async def complete(self, request: Request) -> Response:
        """Completes what `begin` or `link` began with what the provider sent along."""
        provider, query = _provider_of(request), request.query_params
        purpose, _, browser_secret = request.cookies.get(self._name, "").partition(".")
        message = identity_service_pb2.CompleteSignInRequest(
            provider=PROVIDERS[provider],
            state=query.get("state", ""),
            code=query.get("code", ""),
            error=query.get("error", ""),
            browser_secret=browser_secret,
        )
        try:
            answer = await self._calls.unary(self._complete, message, request)
        except grpc.aio.AioRpcError as error:
            place = _IDENTITIES if purpose == _Purpose.LINK else _SIGN_IN
            response = _failure(request, status_of(error, self._complete.method.area), provider, place)
        else:
            response = self._outcome(answer)
        response.delete_cookie(self._name, path=_COOKIE_PATH, secure=self._is_secure, httponly=True, samesite="lax")
        return response

    def _outcome(self, answer: identity_service_pb2.CompleteSignInResponse) -> Response:
        match answer.WhichOneof("outcome"):
            case "tokens":
                # The page asks for the second step where it finds no session.
                has_begun = not answer.tokens.HasField("second_factor")
                response = _see_other(_HOME if has_begun else _SECOND_STEP)
                self._sessions.keep(response, answer.tokens)
                return response
            case "linked":
                return _see_other(_IDENTITIES)
            case _:
                return _see_other(answer.loopback_url)

    def _keep(self, response: Response, purpose: "_Purpose", browser_secret: str) -> None:
        """Keeps the secret for as long as the attempt lasts; Lax, since the provider's page sends the browser back.

        The purpose beside it only says which page is told of a failure. What an attempt is for, svc_user knows.
        """
        response.set_cookie(
            self._name,
            f"{purpose}.{browser_secret}",
            max_age=_LIFE_SECONDS,
            path=_COOKIE_PATH,
            secure=self._is_secure,
            httponly=True,
            samesite="lax",
        )


def _see_other(address: str) -> Response:
    return Response(status_code=_SEE_OTHER, headers={**_HEADERS, "location": address})


def _failure(request: Request, status: status_pb2.Status, provider: str, place: str) -> Response:
    """Returns the refusal, to a browser as a place of the page that names it, to a program as it is."""
    if not wants_page(request):
        return refused(status)
    info = error_details_pb2.ErrorInfo()
    for detail in status.details:
        if detail.Unpack(info):
            break
    query = {"failure": info.reason, "provider": provider}
    if cause := info.metadata.get("cause") or _cause_of_outage(info, provider):
        query["cause"] = cause
    return _see_other(f"{place}?{urlencode(query)}")


def _cause_of_outage(info: error_details_pb2.ErrorInfo, provider: str) -> str:
    """Tells an outage of ours from one of the provider's, for which the page has other words."""
    return "studio" if info.metadata.get("dependency", provider) != provider else ""


def _provider_of(request: Request) -> str:
    """Returns the provider that the address names; the routes are those of `PROVIDERS` alone."""
    return next(name for name in PROVIDERS if request.url.path.startswith(begin_path(name)))


def _route(router: Router, path: str) -> Route:
    match = router.find("POST", path)
    if not isinstance(match, Match):
        raise TypeError(f"the contract has no {path}")
    return match.route
