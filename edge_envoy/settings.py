"""All that differs between one deployment of the edge and another."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


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
class Tls:
    """A certificate that the edge shows: to clients at its listener, or to the services."""

    # Envoy's own file about it, which `resource_text` gives the content of.
    resource: Path
    # Both PEM, in one folder; replaced by a rename, as cert-manager and its likes do.
    certificate: Path
    key: Path
    name: str = "edge"

    @property
    def resource_text(self) -> str:
        """Envoy's resource that names the two files, in JSON."""
        names = {"certificate_chain": {"filename": str(self.certificate)}, "private_key": {"filename": str(self.key)}}
        kind = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"
        return (
            json.dumps({"resources": [{"@type": kind, "name": self.name, "tls_certificate": names}]}, indent=2) + "\n"
        )


@dataclass(frozen=True, slots=True)
class UpstreamTls:
    """What the edge shows to the services, and whose certificates it believes of them."""

    pair: Tls
    authority: Path


@dataclass(frozen=True, slots=True)
class EdgeSettings:
    """All that differs between one deployment of the edge and another."""

    listen: Address
    # A Unix socket: whoever reaches the administration gives orders, and any web page can reach a port of this machine.
    admin: Path
    # The public listener of each area's service.
    upstreams: Mapping[str, Address]
    descriptor_set: Path
    # Envoy's own file about tokens, which `token_check` gives the content of.
    token_check: Path
    # The keys that it knows at first.
    user_jwks: Path
    token_issuer: str = "https://pingvas.studio"  # noqa: S105 - a name, no secret
    token_audience: str = "pingvas-api"  # noqa: S105 - a name, no secret
    # Whose browsers may call; `*` in place of a port stands for any.
    cors_origins: tuple[str, ...] = ("http://localhost:*", "http://127.0.0.1:*")
    # Of this process, over all callers: a shield for the services. Limits for each account are the services'.
    requests_per_second: int = 5_000
    request_burst: int = 10_000
    # The same of one address: twice what the largest tier allows an account, whose program may have one address.
    address_requests_per_second: int = 1_000
    address_burst: int = 5_000
    # Shown to the services, so that they believe which client's address the edge names; empty: they see the edge's own.
    edge_secret: str = ""
    # Proxies of our own in front of the edge, whose word on the client's address is believed.
    trusted_hops: int = 0
    # Longer than the services' own deadline of 10 s: the edge answers only for one that hangs.
    unary_timeout_seconds: float = 15.0
    # The store of pictures, for whoever has a presigned address; absent: they reach it by themselves.
    objects: Objects | None = None
    # The HTTP bridge, which gets the HTTP forms of streaming methods; absent: the transcoder keeps them.
    bridge: Address | None = None
    # For a request to arrive whole: enough for a picture over a slow line.
    request_timeout_seconds: float = 300.0
    # For its headers alone.
    request_headers_timeout_seconds: float = 10.0
    reflection: bool = False
    access_log: bool = True
    # With it the listener speaks TLS only.
    tls: Tls | None = None
    # With it the services are called by TLS.
    upstream_tls: UpstreamTls | None = None
    # Whether svc_user is asked how often a network may call without a token, for which it must know the edge's secret.
    network_limits: bool = False
    # How long a read waits for the answer before it passes uncounted.
    network_limit_seconds: float = 0.25
    # For how long browsers that were here by https come back by https alone (HSTS); 0: they aren't told.
    hsts_seconds: int = 0
    # Where /ready and /stats/prometheus are served to whoever reaches it; absent: nowhere but at the administration.
    status: Address | None = None

    @property
    def certificates(self) -> tuple[Tls, ...]:
        """Those whose resources must lie beside the configuration."""
        return tuple(tls for tls in (self.tls, self.upstream_tls and self.upstream_tls.pair) if tls)
