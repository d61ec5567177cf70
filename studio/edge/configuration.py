"""draft"""

import ipaddress, re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
import jinja2
from studio.edge.contracts import public_methods

TEMPLATE = Path(__file__).resolve().parents[2] / "envoy" / "envoy.yaml.j2"


@dataclass(frozen=True)
class Address:
    host: str
    port: int


def render(listen, admin, upstreams, descriptor_set, jwks, replies, access_log=True):
    methods = public_methods(Path(descriptor_set).read_bytes())
    env = jinja2.Environment(undefined=jinja2.Undefined, autoescape=False)
    anon = []
    for m in methods:
        if m.anonymous:
            anon.append({"path": m.path})
            for b in m.bindings:
                anon.append({"path": b.template, "headers": [{"name": ":method", "string_match": {"exact": b.verb}}]})
    routes = [
        dict(
            name=m.path,
            path=m.path,
            cluster=m.area + ("_streams" if m.streams else ""),
            timeout="0s" if m.streams else "15s",
            retry_on="connect-failure,refused-stream,reset-before-request",
        )
        for m in methods
    ]
    clusters = [
        dict(name=a, discovery="STATIC", address=addr, max_requests=4096, streams_per_connection=100)
        for a, addr in upstreams.items()
    ]
    clusters.append(
        dict(
            name="generation_streams",
            discovery="STATIC",
            address=upstreams["generation"],
            max_requests=20000,
            streams_per_connection=100,
        )
    )
    return env.from_string(TEMPLATE.read_text()).render(
        listen=listen,
        admin=admin,
        limits=dict(
            connections=50000,
            streams_per_connection=4096,
            request_burst=2000,
            requests_per_fill=100,
            fill_interval="0.1s",
            body_bytes=4 << 20,
        ),
        untrusted_header_prefixes=[
            "x-envoy-",
            "x-user-",
            "x-account-",
            "x-tenant-",
            "x-tier",
            "x-forwarded-client-cert",
        ],
        access_log=access_log,
        replies=replies,
        token=dict(issuer="https://pingvas.studio", audience="pingvas-api", jwks_file=str(jwks)),
        anonymous_matches=anon,
        descriptor_set_file=str(descriptor_set),
        services=sorted({m.service for m in methods}),
        cors_origin_patterns=[r"https?://localhost(:\d+)?"],
        routes=routes,
        clusters=clusters,
    )
