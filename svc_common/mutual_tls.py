"""TLS between the platform's own processes, in which both sides show a certificate of the platform's authority.

Who a caller is and what it may do is still said by its token (`svc_common.tokens`); TLS keeps others from reading, changing
and connecting at all. A server takes up a renewed certificate with the next connection, a client when it is started again.
"""

from __future__ import annotations  # grpc's classes are generic for the type checker only

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Self, cast

import grpc
import grpc.aio
from pydantic import Field, FilePath, model_validator
from pydantic_settings import BaseSettings

from svc_common.watched_file import WatchedFile


@dataclass(frozen=True, slots=True)
class MutualTls:
    """The files of one process, in PEM: its certificate and key, and the authority that signed those of all others."""

    certificate: Path
    key: Path
    authority: Path

    def client_credentials(self) -> grpc.ChannelCredentials:
        """Returns what a client connects with; it wants the name of the address in the server's certificate."""
        return grpc.ssl_channel_credentials(
            root_certificates=self.authority.read_bytes(),
            private_key=self.key.read_bytes(),
            certificate_chain=self.certificate.read_bytes(),
        )

    def server_credentials(self) -> grpc.ServerCredentials:
        """Returns what a server listens with, which asks every client for a certificate; raises OSError without the files."""
        renewal = _Renewal(self)
        # The published type stubs leave out that None means "as before".
        renewed = cast("Callable[[], grpc.ServerCertificateConfiguration]", renewal)
        return grpc.dynamic_ssl_server_credentials(renewal.read(), renewed, require_client_authentication=True)


class _Renewal:
    """Reads the files of a server again when one of them has changed. gRPC asks before each handshake."""

    def __init__(self, tls: MutualTls) -> None:
        self._certificate, self._key = WatchedFile(tls.certificate), WatchedFile(tls.key)
        self._authority = WatchedFile(tls.authority)

    def __call__(self) -> grpc.ServerCertificateConfiguration | None:
        """Returns the renewed configuration, or None to go on with the last one."""
        if not any(file.has_changed() for file in (self._certificate, self._key, self._authority)):
            return None
        try:
            return self.read()
        except OSError:
            # One of the files is just being replaced.
            return None

    def read(self) -> grpc.ServerCertificateConfiguration:
        """Returns the configuration; raises OSError when a file is missing."""
        pair = (self._key.read(), self._certificate.read())
        return grpc.ssl_server_certificate_configuration([pair], root_certificates=self._authority.read())


class MutualTlsSettings(BaseSettings):
    """The settings of every process that calls services or is called as one."""

    tls_certificate_file: FilePath | None = Field(
        default=None,
        description="file with this process's certificate for other processes of the platform, PEM; absent: no TLS among them",
    )
    tls_key_file: FilePath | None = Field(default=None, description="file with the key of that certificate, PEM")
    tls_ca_file: FilePath | None = Field(
        default=None, description="file with the authority of all those certificates, PEM"
    )

    @model_validator(mode="after")
    def _tls_is_whole(self) -> Self:
        files = (self.tls_certificate_file, self.tls_key_file, self.tls_ca_file)
        if any(files) and not all(files):
            raise ValueError("TLS_CERTIFICATE_FILE, TLS_KEY_FILE and TLS_CA_FILE are set together or not at all")
        return self

    @property
    def mutual_tls(self) -> MutualTls | None:
        """The files, or None without TLS."""
        if self.tls_certificate_file is None or self.tls_key_file is None or self.tls_ca_file is None:
            return None
        return MutualTls(self.tls_certificate_file, self.tls_key_file, self.tls_ca_file)


def blocking_channel(address: str, tls: MutualTls | None) -> grpc.Channel:
    """Opens a channel to a service for a caller without an event loop, with TLS or without."""
    if tls is None:
        return grpc.insecure_channel(address)
    return grpc.secure_channel(address, tls.client_credentials())


def aio_channel(
    address: str, tls: MutualTls | None, options: list[tuple[str, int | str]] | None = None
) -> grpc.aio.Channel:
    """Opens a channel to a service, with TLS or without."""
    if tls is None:
        return grpc.aio.insecure_channel(address, options=options)
    return grpc.aio.secure_channel(address, tls.client_credentials(), options=options)
