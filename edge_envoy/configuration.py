"""Renders Envoy's configuration: the template `envoy.yaml.j2` beside it, filled with what the contracts say.

How the edge treats a request stands in the template; which requests there are, in `edge_envoy.routes`. Running Envoy is left
to whoever wants the configuration.
"""

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import jinja2

from edge_envoy.compression import (
    COMPRESSORS,
    LEAST_BYTES,
    PAGE_PATHS,
    compressed_matches,
    per_route,
)
from edge_envoy.replies import (
    API_KEY_REFUSAL_HEADER,
    BRIDGE_CLUSTER,
    DEADLINE_HEADER,
    SEED_RULE,
    SEEN_HEADER,
    SOCKETS_CLUSTER,
    SPEAKS_GRPC,
    SPOKEN_HEADER,
    mappers,
)
from edge_envoy.request_check import request_check
from edge_envoy.routes import (
    CLOSED,
    OPEN,
    PAGE_FILES,
    SHARED_BYTES,
    WEBHOOKS,
    anonymous_matches,
    bridged_matches,
    clusters,
    routes,
)
from edge_envoy.settings import EdgeSettings
from edge_envoy.token_check import TOKEN_CHECK, TOKEN_CHECK_TYPE, token_check_text
from edge_envoy.unreadable import UNREADABLE
from svc_common.client_address import EDGE_SECRET_HEADER
from svc_common.contracts import public_methods
from svc_common.errors import PAYMENT_REQUIRED

_FOLDER: Final = Path(__file__).resolve().parent
_TEMPLATE: Final = _FOLDER / "envoy.yaml.j2"
_API_KEY_SCRIPT: Final = _FOLDER / "api_key.lua"

_BODY_BYTES: Final = 4 << 20
_OBJECTS_PREFIX: Final = "/objects"
_PAGES: Final[dict[str, Any]] = {
    "prefix": "/",
    "headers": [
        {"name": ":method", "string_match": {"exact": "GET"}},
        {"name": "accept", "string_match": {"contains": "text/html"}},
    ],
}
# What the bridge serves of other products' APIs. It reads the credential, limits the bodies and refuses in their manner.
_COMPAT: Final[list[dict[str, Any]]] = [
    {"prefix": "/v1/"},
    {"path": "/mcp"},
    # At the root: programs replace the path of the address that they are given.
    {"prefix": "/sdapi/v1/"},
    {"path": "/internal/ping"},
    # Pictures that are uploaded take their time as well, and aren't held here.
    {"path": "/api/v1/images:upload"},
]
# Sockets of the bridge, whose credential is in the handshake's headers or behind it.
_SOCKETS: Final[list[dict[str, str]]] = [{"prefix": "/ws/"}]
# The bridge's clusters with their way to choose among its processes.
_BRIDGE_CLUSTERS: Final[Mapping[str, str]] = MappingProxyType(
    {BRIDGE_CLUSTER: "LEAST_REQUEST", SOCKETS_CLUSTER: "RING_HASH"}
)
# As long as their clients wait for one answer; ours waits for the queue before its first byte.
_COMPAT_IDLE: Final = "660s"
_API: Final = ("/api/", "/pingvas.", "/grpc.", "/.well-known/")

# A connection of grpc.aio is served in turn: some hundred streams on each keep a slow one from holding up all.
_STREAMS_PER_CONNECTION: Final = 256
_CLIENT_STREAMS_PER_CONNECTION: Final = 4096
_CONNECTIONS: Final = 50_000
_TRANSFERS: Final = 4096
# Buckets of those that called last, some hundred bytes each.
_ADDRESSES: Final = 20_000

_SECURITY_HEADERS: Final[Mapping[str, str]] = MappingProxyType(
    {
        # An answer is data. Shown by a browser as a page it loads nothing, runs nothing, and is in nobody's frame.
        "content-security-policy": "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
        "x-content-type-options": "nosniff",
        # For browsers that don't know frame-ancestors.
        "x-frame-options": "DENY",
        # Addresses hold ids and, of shared pictures, secrets.
        "referrer-policy": "no-referrer",
    }
)


def edge_configuration(settings: EdgeSettings) -> str:
    """Returns Envoy's configuration in YAML.

    Raises OSError when the descriptor set can't be read, and ValueError when an area has methods but no upstream.
    """
    descriptor_set = settings.descriptor_set.read_bytes()
    methods = public_methods(descriptor_set)
    unserved = sorted({method.area for method in methods} - set(settings.upstreams))
    if unserved:
        raise ValueError(f"these areas have public methods but no upstream: {', '.join(unserved)}")
    compat, sockets = (_COMPAT, _SOCKETS) if settings.bridge else ([], [])
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, autoescape=False)  # noqa: S701 - YAML, not HTML
    template = environment.from_string(_TEMPLATE.read_text(encoding="utf-8"))
    return template.render(
        settings=settings,
        services=sorted({method.service for method in methods}),
        routes=list(routes(methods, f"{settings.unary_timeout_seconds}s", reflection=settings.reflection)),
        objects_prefix=_OBJECTS_PREFIX,
        bridged=list(bridged_matches(methods)) if settings.bridge else [],
        compat=compat,
        sockets=sockets,
        token_check_name=TOKEN_CHECK,
        token_check_type=TOKEN_CHECK_TYPE,
        bridge_clusters=_BRIDGE_CLUSTERS if settings.bridge else {},
        compat_idle=_COMPAT_IDLE,
        pages=_PAGES if settings.bridge else None,
        clusters=list(clusters(methods, settings)),
        stages={"open": OPEN, "closed": CLOSED},
        security_headers=_security_headers(settings),
        api_key=_api_key_script([*compat, *sockets]),
        request_check=request_check(methods, descriptor_set, _BODY_BYTES),
        compressors=COMPRESSORS,
        compressed=list(compressed_matches(methods, descriptor_set)),
        compressed_paths=PAGE_PATHS,
        compression=per_route,
        mappers=mappers(settings.upstreams, _BODY_BYTES),
        api_prefixes=_API,
        spoken_header=SPOKEN_HEADER,
        seen_header=SEEN_HEADER,
        speaks_grpc=SPEAKS_GRPC,
        unreadable=UNREADABLE,
        deadline_header=DEADLINE_HEADER,
        edge_secret_header=EDGE_SECRET_HEADER,
        seed_rule=SEED_RULE,
        payment_required=sorted(PAYMENT_REQUIRED),
        cors_origin_patterns=[origin_pattern(origin) for origin in settings.cors_origins],
        limits=_limits(),
    )


def token_check(settings: EdgeSettings) -> str:
    """Returns the edge's check of access tokens, the content of `settings.token_check`, in JSON.

    Raises OSError when the descriptor set or the keys can't be read.
    """
    methods = public_methods(settings.descriptor_set.read_bytes())
    anonymous = list(anonymous_matches(methods, reflection=settings.reflection))
    if settings.objects:
        # The signature in the address is the credential; without one there is no route.
        anonymous.append({"prefix": f"{_OBJECTS_PREFIX}/"})
    if settings.bridge:
        # Other products' APIs and sockets are refused in the manner of the other product, by the bridge and the services.
        anonymous += [*PAGE_FILES, *WEBHOOKS, SHARED_BYTES, *_COMPAT, *_SOCKETS]
    return token_check_text(
        issuer=settings.token_issuer,
        audience=settings.token_audience,
        jwks=json.loads(settings.user_jwks.read_bytes()),
        anonymous=anonymous,
        api_prefixes=_API,
        pages=_PAGES if settings.bridge else None,
    )


def write_configuration(settings: EdgeSettings, file: Path) -> None:
    """Writes Envoy's configuration, and the check of tokens that it names. Both are for their owner only."""
    for path, text in ((settings.token_check, token_check(settings)), (file, edge_configuration(settings))):
        path.touch(mode=0o600)
        path.write_text(text, encoding="utf-8")


def _api_key_script(compat: Iterable[Mapping[str, str]]) -> str:
    """Returns the Lua that takes API keys."""
    tables = (f"{{{kind} = {json.dumps(text)}}}" for match in compat for kind, text in match.items())
    constants = f'local REFUSAL_HEADER = "{API_KEY_REFUSAL_HEADER}"\nlocal COMPAT = {{{", ".join(tables)}}}\n\n'
    return constants + _API_KEY_SCRIPT.read_text(encoding="utf-8")


def origin_pattern(origin: str) -> str:
    """Returns the RE2 expression for an origin such as `http://localhost:*`, where `*` stands for any port."""
    host, separator, port = origin.rpartition(":")
    if port == "*":
        return re.escape(host) + r"(:\d+)?"
    return re.escape(host + separator + port)


def _security_headers(settings: EdgeSettings) -> Mapping[str, str]:
    if not settings.tls or not settings.hsts_seconds:
        return _SECURITY_HEADERS
    return {**_SECURITY_HEADERS, "strict-transport-security": f"max-age={settings.hsts_seconds}; includeSubDomains"}


def _limits() -> dict[str, int]:
    return {
        "body_bytes": _BODY_BYTES,
        "compressed_bytes": LEAST_BYTES,
        "connections": _CONNECTIONS,
        "transfers": _TRANSFERS,
        "addresses": _ADDRESSES,
        "client_streams_per_connection": _CLIENT_STREAMS_PER_CONNECTION,
        "streams_per_connection": _STREAMS_PER_CONNECTION,
    }
