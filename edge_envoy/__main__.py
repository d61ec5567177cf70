"""Writes what Envoy needs into a folder, from plain environment variables: `python -m edge_envoy FOLDER`.

For deployments in which Envoy runs in a container of its own: one that is run before it, with our image, fills a folder
that both share. The configuration so always suits the contracts of the release. A second one, which runs beside Envoy,
hands it the keys of access tokens whenever they change: `python -m edge_envoy --follow FOLDER`.
"""

import signal
import sys
import threading
from pathlib import Path
from typing import Annotated, Final

from pydantic import Field, FilePath, field_validator
from pydantic_settings import NoDecode, SettingsConfigDict

from edge_envoy.configuration import write_configuration
from edge_envoy.settings import Address, EdgeSettings, Objects, Tls, UpstreamTls
from edge_envoy.token_check import publish_keys
from svc_common.contracts import DESCRIPTOR_SET
from svc_common.settings import PublicAddresses, load

_FOLLOW: Final = "--follow"
_LOOK_EVERY_SECONDS: Final = 1.0
_ADDRESS: Final = r"^[A-Za-z0-9.\-\[\]]+:\d{1,5}$"


class EdgeEnvironment(PublicAddresses):
    """Every setting of the edge; the environment variable has the field's name in capitals."""

    model_config = SettingsConfigDict(extra="ignore", frozen=True, hide_input_in_errors=True)

    listen_address: str = Field(default="0.0.0.0:8080", pattern=_ADDRESS, description="where callers are served")
    status_address: str = Field(
        default="0.0.0.0:9901",
        pattern=_ADDRESS,
        description="where /ready and /stats/prometheus are served",
    )
    bridge_address: str = Field(pattern=_ADDRESS, description="the HTTP bridge, as host:port")
    user_jwks_file: FilePath = Field(description="file with the public keys of access tokens, a JWK set")
    edge_secret: str = Field(min_length=16, description="the secret that the edge shows to the services")
    cors_origins: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(), description="origins of other pages that may call, comma-separated; absent: the studio's own alone"
    )
    trusted_hops: int = Field(default=0, ge=0, description="proxies of ours in front of the edge")
    tls_certificate_file: Path | None = Field(
        default=None, description="certificate in PEM, by its path in Envoy's container; absent: no TLS"
    )
    tls_key_file: Path | None = Field(default=None, description="its key in PEM, in the same folder")
    hsts_seconds: int = Field(
        default=31_536_000,
        ge=0,
        description="with TLS, for how long browsers come back by https alone; 0: they aren't told",
    )
    upstream_certificate_file: Path | None = Field(
        default=None,
        description="the edge's certificate for the services in PEM, by its path in Envoy's container; absent: no TLS to them",
    )
    upstream_key_file: Path | None = Field(default=None, description="its key in PEM, in the same folder")
    upstream_ca_file: Path | None = Field(
        default=None, description="the authority of the services' certificates in PEM, in the same folder"
    )
    objects_address: str = Field(
        default="",
        pattern=f"^$|{_ADDRESS}",
        description="S3 server that clients reach under /objects, as host:port; empty: they reach the store by themselves",
    )
    s3_bucket: str = Field(default="pingvas", description="bucket of all pictures")
    descriptor_set_file: FilePath = Field(default=DESCRIPTOR_SET, description="file with the compiled contracts")

    @field_validator("cors_origins", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value

    def edge(self, folder: Path) -> EdgeSettings:
        """Returns the settings for an Envoy that sees `folder` under the same path."""
        tls = None
        if self.tls_certificate_file and self.tls_key_file:
            tls = Tls(folder / "tls.json", self.tls_certificate_file, self.tls_key_file)
        upstream_tls = None
        if self.upstream_certificate_file and self.upstream_key_file and self.upstream_ca_file:
            pair = Tls(folder / "upstream.json", self.upstream_certificate_file, self.upstream_key_file, "upstream")
            upstream_tls = UpstreamTls(pair, self.upstream_ca_file)
        objects = None
        if self.objects_address:
            objects = Objects(_address(self.objects_address), self.objects_address, self.s3_bucket)
        return EdgeSettings(
            listen=_address(self.listen_address),
            admin=folder / "admin.sock",
            upstreams={area: _address(address) for area, address in self.public_addresses.items()},
            descriptor_set=folder / "pingvas.binpb",
            token_check=folder / "token-check.json",
            user_jwks=self.user_jwks_file,
            cors_origins=self.cors_origins,
            edge_secret=self.edge_secret,
            trusted_hops=self.trusted_hops,
            objects=objects,
            bridge=_address(self.bridge_address),
            tls=tls,
            upstream_tls=upstream_tls,
            network_limits=True,
            hsts_seconds=self.hsts_seconds,
            status=_address(self.status_address),
        )


def write(environment: EdgeEnvironment, folder: Path) -> Path:
    """Writes envoy.yaml and what it names into the folder, and returns its path."""
    settings = environment.edge(folder)
    settings.descriptor_set.write_bytes(environment.descriptor_set_file.read_bytes())
    for tls in settings.certificates:
        tls.resource.write_text(tls.resource_text, encoding="utf-8")
    configuration = folder / "envoy.yaml"
    write_configuration(settings, configuration)
    return configuration


def follow(environment: EdgeEnvironment, folder: Path, stop: threading.Event) -> None:
    """Hands Envoy the keys within a second of each change, until `stop` is set. A file in the wrong state is waited for.

    Touches a file at each look, by which a cluster sees that this process lives.
    """
    settings, told = environment.edge(folder), ""
    while not stop.wait(_LOOK_EVERY_SECONDS):
        (folder / "keys.alive").touch()
        try:
            publish_keys(settings.token_check, settings.user_jwks)
            told = ""
        except (OSError, ValueError, KeyError) as error:
            if str(error) != told:
                sys.stderr.write(f"The keys can't be handed on: {error}\n")
            told = str(error)


def _address(text: str) -> Address:
    host, _, port = text.rpartition(":")
    return Address(host.strip("[]"), int(port))


def main() -> None:
    """Runs the command."""
    arguments = [argument for argument in sys.argv[1:] if argument != _FOLLOW]
    if len(arguments) != 1:
        sys.stderr.write(f"usage: python -m edge_envoy [{_FOLLOW}] FOLDER\n")
        sys.exit(2)
    environment, folder = load(EdgeEnvironment), Path(arguments[0])
    if _FOLLOW not in sys.argv:
        sys.stdout.write(f"{write(environment, folder)}\n")
        return
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    follow(environment, folder, stop)


if __name__ == "__main__":
    main()
