"""Which requests there are at the edge: a route for each public method, what the bridge serves, and the clusters behind them.

Computed from the contracts. How the edge treats a request of either kind stands in the template.
"""

import ipaddress
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from edge_envoy.settings import Address, EdgeSettings
from svc_common.contracts import PublicMethod

_NO_TIMEOUT: Final = "0s"

# A call that never reached a service may be repeated whatever it does; one that only reads also after a reset or UNAVAILABLE.
_RETRY_UNSENT: Final = "connect-failure,refused-stream,reset-before-request"
_RETRY_READS: Final = "connect-failure,refused-stream,reset,unavailable"

# Answered by one service for all: the one whose failure is the platform's.
_REPRESENTATIVE: Final = "generation"
_HEALTH: Final = "/grpc.health.v1.Health/Check"
_REFLECTION: Final = (
    "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
)

# What the bridge serves of the studio's page to whoever asks, and every other address that a browser would show.
PAGE_FILES: Final[list[dict[str, Any]]] = [
    {"path": "/"},
    {"path": "/favicon.svg"},
    {"prefix": "/assets/"},
    {"path": "/docs"},
    {"path": "/openapi.json"},
    {"path": "/status.json"},
    {"path": "/session"},
    {"path": "/session/refresh"},
    {"path": "/session/second-factor"},
    {"path": "/session/identities"},
    # Where browsers leave for a provider to sign in, and where they come back.
    {"path": "/api/v1/auth/google"},
    {"path": "/api/v1/auth/google/callback"},
    {"path": "/api/v1/auth/discord"},
    {"path": "/api/v1/auth/discord/callback"},
]
# Bytes of pictures by the API's own addresses (edge_http/picture_bytes.py).
_OWN_BYTES: Final[dict[str, Any]] = {
    "safe_regex": {"regex": "/api/v1/images/[^/]+/(content|thumbnail)"},
    "headers": [{"name": ":method", "string_match": {"safe_regex": {"regex": "GET|HEAD"}}}],
}
SHARED_BYTES: Final[dict[str, Any]] = {
    "safe_regex": {"regex": "/api/v1/shared/[^/]+/content"},
    "headers": [{"name": ":method", "string_match": {"exact": "GET"}}],
}
# Reports of payment providers, which show their signature in place of a token.
WEBHOOKS: Final[list[dict[str, Any]]] = [
    {"path": path, "headers": [{"name": ":method", "string_match": {"exact": "POST"}}]}
    for path in ("/api/v1/webhooks/lemon-squeezy", "/api/v1/webhooks/polar", "/api/v1/payments/webhook")
]
_STREAMS: Final = "_streams"
_UNARY_CONCURRENCY: Final = 4096
# Each watcher is a request that lasts for minutes; the default of 1,024 would refuse the next one and every other call with it.
_STREAM_CONCURRENCY: Final = 50_000

OPEN, CLOSED = 0, 1
"""Stages of the limit of calls without a token: during an outage of the counts, calls pass or don't."""
GUARDED_METHODS: Final = frozenset(
    {
        *("AuthService.Login", "AuthService.VerifySecondFactor", "AuthService.Register"),
        *("AuthService.ForgotPassword", "AuthService.ResetPassword", "AuthService.ResendVerification"),
        *("IdentityService.BeginSignIn", "IdentityService.CompleteSignIn", "IdentityService.ExchangeSignInCode"),
        "SharingService.UnlockSharedImage",
    }
)
"""Methods without a token by which a person's secret could be guessed, accounts made, or mails caused."""
_GUARDED_PATHS: Final = frozenset(
    {
        *("/session", "/session/second-factor"),
        *("/api/v1/auth/google", "/api/v1/auth/google/callback"),
        *("/api/v1/auth/discord", "/api/v1/auth/discord/callback"),
    }
)


@dataclass(frozen=True, slots=True)
class Route:
    """Where one gRPC path leads and how long it may take."""

    path: str
    cluster: str
    timeout: str
    retry_on: str
    # Which limit of calls without a token it counts for; None: no such limit.
    stage: int | None = None
    # Whether the client goes on sending after its first message, so that the request can't be buffered.
    duplex: bool = False


@dataclass(frozen=True, slots=True)
class Cluster:
    """One pool of connections to a service."""

    name: str
    address: Address
    max_requests: int

    @property
    def name_type(self) -> str:
        """Which kind of name the certificate of the service must have."""
        return "IP_ADDRESS" if self.discovery == "STATIC" else "DNS"

    @property
    def discovery(self) -> str:
        """How Envoy finds the endpoints: by itself for an address, by DNS for a name."""
        try:
            ipaddress.ip_address(self.address.host)
        except ValueError:
            return "STRICT_DNS"
        return "STATIC"


def routes(methods: Iterable[PublicMethod], unary_timeout: str, *, reflection: bool) -> Iterator[Route]:
    """Yields a route for each public method, and those for health and reflection."""
    for method in methods:
        yield Route(
            path=method.path,
            cluster=_cluster_name(method),
            timeout=_NO_TIMEOUT if method.streams else unary_timeout,
            retry_on=_RETRY_READS if method.reads_only and not method.streams else _RETRY_UNSENT,
            stage=_stage(method),
        )
    yield Route(_HEALTH, _REPRESENTATIVE, unary_timeout, _RETRY_READS)
    if reflection:
        for path in _REFLECTION:
            yield Route(path, _REPRESENTATIVE, _NO_TIMEOUT, _RETRY_UNSENT, duplex=True)


def _stage(method: PublicMethod) -> int | None:
    if not method.anonymous:
        # The service counts it, for the account (docs/adr/0032).
        return None
    return CLOSED if f"{method.service.rpartition('.')[2]}.{method.name}" in GUARDED_METHODS else OPEN


def bridged_matches(methods: Iterable[PublicMethod]) -> Iterator[tuple[dict[str, Any], int | None]]:
    """Yields what the bridge serves besides other products' APIs: the match, and the limit that it counts for."""
    yield from ((match, None) for match in _streamed_matches(methods))
    yield from ((match, CLOSED if match.get("path") in _GUARDED_PATHS else None) for match in PAGE_FILES)
    yield from ((match, None) for match in WEBHOOKS)
    yield _OWN_BYTES, None
    yield SHARED_BYTES, OPEN


def _streamed_matches(methods: Iterable[PublicMethod]) -> Iterator[dict[str, Any]]:
    """Yields Envoy's route matches for the HTTP forms of streaming methods."""
    for method in methods:
        for binding in method.bindings if method.streams else ():
            verb = {"name": ":method", "string_match": {"exact": binding.verb}}
            yield {"safe_regex": {"regex": binding.pattern}, "headers": [verb]}


def clusters(methods: Iterable[PublicMethod], settings: EdgeSettings) -> Iterator[Cluster]:
    """Yields a cluster for each area and one more for its streams, so that watchers never use up the room of other calls."""
    upstreams = settings.upstreams
    if settings.network_limits:
        yield Cluster("network_limits", upstreams["user"], _UNARY_CONCURRENCY)
    for area, address in upstreams.items():
        yield Cluster(area, address, _UNARY_CONCURRENCY)
    for area in sorted({method.area for method in methods if method.streams}):
        yield Cluster(area + _STREAMS, upstreams[area], _STREAM_CONCURRENCY)


def _cluster_name(method: PublicMethod) -> str:
    return method.area + _STREAMS if method.streams else method.area


def anonymous_matches(methods: Iterable[PublicMethod], *, reflection: bool) -> Iterator[dict[str, Any]]:
    """Yields Envoy's route matches for whatever passes without a token, in its gRPC and its HTTP forms."""
    for method in methods:
        if method.anonymous:
            yield {"path": method.path}
            for binding in method.bindings:
                verb = {"name": ":method", "string_match": {"exact": binding.verb}}
                yield {"safe_regex": {"regex": binding.pattern}, "headers": [verb]}
    for path in (_HEALTH, *(_REFLECTION if reflection else ())):
        yield {"path": path}
