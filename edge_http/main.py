"""Puts the bridge together from its settings and runs it: `python -m edge_http.main`."""

import asyncio
import signal
import sys
from datetime import timedelta
from pathlib import Path
from types import FrameType
from typing import Final, Literal, Self

import uvicorn
from pydantic import DirectoryPath, Field, FilePath, model_validator
from pydantic_settings import SettingsConfigDict

from edge_http.application import application
from edge_http.calls import Calls
from edge_http.http_protocol import PROTOCOLS
from edge_http.page import Page
from edge_http.routing import router_of
from edge_http.session import Sessions
from edge_http.sign_in import SignIns
from edge_http.webhooks import CALLER, Webhooks
from svc_common.contracts import DESCRIPTOR_SET, OPENAPI_DOCUMENT
from svc_common.mutual_tls import MutualTlsSettings
from svc_common.settings import PublicAddresses, load
from svc_common.telemetry import configure_logging
from svc_common.tokens import ServiceCredential

_PAGE: Final = Path(__file__).resolve().parents[1] / "web" / "dist"
_ADDRESS: Final = r"^[A-Za-z0-9.\-\[\]]+:\d{1,5}$"


class EdgeHttpSettings(PublicAddresses, MutualTlsSettings):
    """Every setting of the bridge; the environment variable has the field's name in capitals."""

    model_config = SettingsConfigDict(extra="ignore", frozen=True, hide_input_in_errors=True)

    listen_address: str = Field(pattern=_ADDRESS, description="where HTTP is served, as host:port")
    payment_internal_address: str = Field(
        default="",
        pattern=f"^$|{_ADDRESS}",
        description="internal listener of svc_payment, as host:port, for the webhooks of payment providers; "
        "empty: they aren't received",
    )
    service_key_file: FilePath | None = Field(
        default=None, description="file with this process's own EC P-256 private key, PEM, for internal listeners"
    )
    descriptor_set_file: FilePath = Field(
        default=DESCRIPTOR_SET, description="file with the compiled contracts, a FileDescriptorSet"
    )
    openapi_file: FilePath = Field(
        default=OPENAPI_DOCUMENT, description="file with the OpenAPI document of those contracts"
    )
    page_dir: DirectoryPath | None = Field(
        default=_PAGE if _PAGE.is_dir() else None, description="folder of the built page; absent: no page is served"
    )
    page_is_secure: bool = Field(default=True, description="whether the page is served by https")
    objects_origin: str = Field(
        default="", description="scheme, host and port of pictures' addresses where they aren't the page's own"
    )
    unary_timeout_seconds: float = Field(
        default=15.0, gt=0, description="how long a call without a deadline of its own may take"
    )
    grace_seconds: int = Field(default=10, ge=0, description="how long calls in progress may take to end at a stop")
    log_format: Literal["json", "console"] = Field(default="json", description="form of the log")
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="least severe event that is logged"
    )

    @model_validator(mode="after")
    def _webhooks_are_whole(self) -> Self:
        if bool(self.payment_internal_address) != bool(self.service_key_file):
            raise ValueError(
                "PAYMENT_INTERNAL_ADDRESS and SERVICE_KEY_FILE are for webhooks both: set the other one as well"
            )
        return self


class _Server(uvicorn.Server):
    """uvicorn's server, which tells streams to end as soon as it is asked to stop rather than wait for their end."""

    def __init__(self, config: uvicorn.Config, stopping: asyncio.Event) -> None:
        super().__init__(config)
        self._stopping = stopping
        self._loop = asyncio.get_running_loop()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._loop.call_soon_threadsafe(self._stopping.set)
        super().handle_exit(sig, frame)


async def serve(settings: EdgeHttpSettings) -> None:
    """Serves until SIGTERM or SIGINT; raises ValueError when an area has methods but no address."""
    router = router_of(settings.descriptor_set_file.read_bytes())
    calls = Calls(settings.public_addresses, timedelta(seconds=settings.unary_timeout_seconds), settings.mutual_tls)
    unserved = calls.unserved(tuple(route.method for route in router.routes))
    if unserved:
        raise ValueError(f"these areas have public methods but no address: {', '.join(unserved)}")
    stopping = asyncio.Event()
    sessions = Sessions(router, calls, is_secure=settings.page_is_secure)
    sign_ins = SignIns(router, calls, sessions, is_secure=settings.page_is_secure)
    page = Page(settings.page_dir, settings.objects_origin) if settings.page_dir else None
    webhooks = None
    if settings.payment_internal_address and settings.service_key_file:
        credential = ServiceCredential.from_file(CALLER, settings.service_key_file)
        webhooks = Webhooks(settings.payment_internal_address, credential, settings.mutual_tls)
    host, _, port = settings.listen_address.rpartition(":")
    config = uvicorn.Config(
        application(router, calls, stopping, sessions, sign_ins, page, webhooks, openapi=settings.openapi_file),
        host=host.strip("[]"),
        port=int(port),
        server_header=False,
        timeout_graceful_shutdown=settings.grace_seconds,
        # Behind Envoy, which is not the client.
        proxy_headers=False,
        **PROTOCOLS,
    )
    await _Server(config, stopping).serve()


def main() -> None:
    """Runs the bridge until it is told to stop."""
    settings = load(EdgeHttpSettings)
    configure_logging(settings.log_format, settings.log_level)
    try:
        asyncio.run(serve(settings))
    except ValueError as error:
        sys.stderr.write(f"This process can't start: {error}\n")
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)


if __name__ == "__main__":
    main()
