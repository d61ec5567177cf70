"""Renders Envoy's configuration: the template `envoy/envoy.yaml.j2`, filled with what the contracts say.

How the edge treats a request stands in the template. What is computed here is which requests there are: one route for
each public method, the anonymous ones among them, and the clusters that they lead to. Running Envoy is left to whoever
wants the configuration.
"""

import ipaddress
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import jinja2

from studio.edge.replies import DEADLINE_HEADER, SEED_RULE, SEEN_HEADER, SPEAKS_GRPC, SPOKEN_HEADER, mappers
from studio.edge.request_check import request_check
from studio.edge.unreadable import UNREADABLE
from svc_common.client_address import EDGE_SECRET_HEADER
from svc_common.contracts import PublicMethod, public_methods

_TEMPLATE: Final = Path(__file__).resolve().parents[2] / "envoy" / "envoy.yaml.j2"

_BODY_BYTES: Final = 4 << 20
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

_OBJECTS_PREFIX: Final = "/objects"
# What the bridge serves of the studio's page to whoever asks, and every other address that a browser would show.
_PAGE_FILES: Final[list[dict[str, Any]]] = [
    {"path": "/"},
    {"path": "/favicon.svg"},
    {"prefix": "/assets/"},
    {"path": "/session"},
    {"path": "/session/refresh"},
]
_PAGES: Final[dict[str, Any]] = {
    "prefix": "/",
    "headers": [
        {"name": ":method", "string_match": {"exact": "GET"}},
        {"name": "accept", "string_match": {"contains": "text/html"}},
    ],
}
_API: Final = ("/api/", "/pingvas.", "/grpc.", "/.well-known/")

_STREAMS: Final = "_streams"
_UNARY_CONCURRENCY: Final = 4096
# Each watcher is a request that lasts for minutes; the default of 1,024 would refuse the next one and every other call with it.
_STREAM_CONCURRENCY: Final = 50_000
# A connection of grpc.aio is served in turn: some hundred streams on each keep a slow one from holding up all.
_STREAMS_PER_CONNECTION: Final = 256
_CLIENT_STREAMS_PER_CONNECTION: Final = 4096
_CONNECTIONS: Final = 50_000


@dataclass(frozen=True, slots=True)
class Address:
    """Where a server listens; `host` is an IP address or, for upstreams, a name."""

    host: str
    port: int


@dataclass(frozen=True, slots=True)
class Objects:
    """The S3 server and its bucket of pictures. `host` is the one for which addresses are signed."""

    address: Address
    host: str
    bucket: str

    @property
    def keys(self) -> str:
        """The path on the store under which all pictures and uploads are: never a bucket, and so never a list."""
        return f"/{self.bucket}/users/"


@dataclass(frozen=True, slots=True)
class EdgeSettings:
    """All that differs between one deployment of the edge and another."""

    listen: Address
    # A Unix socket: whoever reaches the administration gives orders, and any web page can reach a port of this machine.
    admin: Path
    # The public listener of each area's service.
    upstreams: Mapping[str, Address]
    descriptor_set: Path
    user_jwks: Path
    token_issuer: str = "https://pingvas.studio"  # noqa: S105 - a name, no secret
    token_audience: str = "pingvas-api"  # noqa: S105 - a name, no secret
    # Whose browsers may call; `*` in place of a port stands for any.
    cors_origins: tuple[str, ...] = ("http://localhost:*", "http://127.0.0.1:*")
    # Of this process, over all callers: a shield for the services. Limits for each account are the services'.
    requests_per_second: int = 5_000
    request_burst: int = 10_000
    # Longer than the services' own deadline of 10 s: the edge answers only for one that hangs.
    # Shown to the services, so that they believe which client's address the edge names; empty: they see the edge's own.
    edge_secret: str = ""
    # Proxies of our own in front of the edge, whose word on the client's address is believed.
    trusted_hops: int = 0
    unary_timeout_seconds: float = 15.0
    # The store of pictures, for whoever has a presigned address; absent: they reach it by themselves.
    objects: Objects | None = None
    # The HTTP bridge, which gets the HTTP forms of streaming methods; absent: the transcoder keeps them.
    bridge: Address | None = None
    # For a request to arrive whole: enough for a picture over a slow line.
    request_timeout_seconds: float = 300.0
    reflection: bool = False
    access_log: bool = True


@dataclass(frozen=True, slots=True)
class Route:
    """Where one gRPC path leads and how long it may take."""

    path: str
    cluster: str
    timeout: str
    retry_on: str
    # Whether the client goes on sending after its first message, so that the request can't be buffered.
    duplex: bool = False


@dataclass(frozen=True, slots=True)
class Cluster:
    """One pool of connections to a service."""

    name: str
    address: Address
    max_requests: int

    @property
    def discovery(self) -> str:
        """How Envoy finds the endpoints: by itself for an address, by DNS for a name."""
        try:
            ipaddress.ip_address(self.address.host)
        except ValueError:
            return "STRICT_DNS"
        return "STATIC"


def edge_configuration(settings: EdgeSettings) -> str:
    """Returns Envoy's configuration in YAML.

    Raises OSError when the descriptor set can't be read, and ValueError when an area has methods but no upstream.
    """
    descriptor_set = settings.descriptor_set.read_bytes()
    methods = public_methods(descriptor_set)
    unserved = sorted({method.area for method in methods} - set(settings.upstreams))
    if unserved:
        raise ValueError(f"these areas have public methods but no upstream: {', '.join(unserved)}")
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, autoescape=False)  # noqa: S701 - YAML, not HTML
    template = environment.from_string(_TEMPLATE.read_text(encoding="utf-8"))
    return template.render(
        settings=settings,
        services=sorted({method.service for method in methods}),
        routes=list(_routes(methods, f"{settings.unary_timeout_seconds}s", reflection=settings.reflection)),
        objects_prefix=_OBJECTS_PREFIX,
        bridged=[*_bridged_matches(methods), *_PAGE_FILES] if settings.bridge else [],
        page_files=_PAGE_FILES if settings.bridge else [],
        pages=_PAGES if settings.bridge else None,
        clusters=list(_clusters(methods, settings.upstreams)),
        anonymous_matches=list(_anonymous_matches(methods, reflection=settings.reflection)),
        request_check=request_check(methods, descriptor_set, _BODY_BYTES),
        mappers=mappers(settings.upstreams, _BODY_BYTES),
        api_prefixes=_API,
        spoken_header=SPOKEN_HEADER,
        seen_header=SEEN_HEADER,
        speaks_grpc=SPEAKS_GRPC,
        unreadable=UNREADABLE,
        deadline_header=DEADLINE_HEADER,
        edge_secret_header=EDGE_SECRET_HEADER,
        seed_rule=SEED_RULE,
        cors_origin_patterns=[origin_pattern(origin) for origin in settings.cors_origins],
        limits=_limits(),
    )


def origin_pattern(origin: str) -> str:
    """Returns the RE2 expression for an origin such as `http://localhost:*`, where `*` stands for any port."""
    host, separator, port = origin.rpartition(":")
    if port == "*":
        return re.escape(host) + r"(:\d+)?"
    return re.escape(host + separator + port)


def _routes(methods: Iterable[PublicMethod], unary_timeout: str, *, reflection: bool) -> Iterator[Route]:
    for method in methods:
        yield Route(
            path=method.path,
            cluster=_cluster_name(method),
            timeout=_NO_TIMEOUT if method.streams else unary_timeout,
            retry_on=_RETRY_READS if method.reads_only and not method.streams else _RETRY_UNSENT,
        )
    yield Route(_HEALTH, _REPRESENTATIVE, unary_timeout, _RETRY_READS)
    if reflection:
        for path in _REFLECTION:
            yield Route(path, _REPRESENTATIVE, _NO_TIMEOUT, _RETRY_UNSENT, duplex=True)


def _bridged_matches(methods: Iterable[PublicMethod]) -> Iterator[dict[str, Any]]:
    """Yields Envoy's route matches for the HTTP forms of streaming methods."""
    for method in methods:
        for binding in method.bindings if method.streams else ():
            verb = {"name": ":method", "string_match": {"exact": binding.verb}}
            yield {"safe_regex": {"regex": binding.pattern}, "headers": [verb]}


def _clusters(methods: Iterable[PublicMethod], upstreams: Mapping[str, Address]) -> Iterator[Cluster]:
    """Yields a cluster for each area and one more for its streams, so that watchers never use up the room of other calls."""
    for area, address in upstreams.items():
        yield Cluster(area, address, _UNARY_CONCURRENCY)
    for area in sorted({method.area for method in methods if method.streams}):
        yield Cluster(area + _STREAMS, upstreams[area], _STREAM_CONCURRENCY)


def _cluster_name(method: PublicMethod) -> str:
    return method.area + _STREAMS if method.streams else method.area


def _anonymous_matches(methods: Iterable[PublicMethod], *, reflection: bool) -> Iterator[dict[str, Any]]:
    """Yields Envoy's route matches for whatever passes without a token, in its gRPC and its HTTP forms."""
    for method in methods:
        if method.anonymous:
            yield {"path": method.path}
            for binding in method.bindings:
                verb = {"name": ":method", "string_match": {"exact": binding.verb}}
                yield {"safe_regex": {"regex": binding.pattern}, "headers": [verb]}
    for path in (_HEALTH, *(_REFLECTION if reflection else ())):
        yield {"path": path}


def _limits() -> dict[str, int]:
    return {
        "body_bytes": _BODY_BYTES,
        "connections": _CONNECTIONS,
        "client_streams_per_connection": _CLIENT_STREAMS_PER_CONNECTION,
        "streams_per_connection": _STREAMS_PER_CONNECTION,
    }
