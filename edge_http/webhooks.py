"""Webhooks of payment providers: passed on to svc_payment byte for byte, since their signatures are over the bytes.

No method of the contract has these paths: transcoding would parse the body and write it anew. A provider tries again
after every answer but 200, and gives up after a few tries.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from fastapi import Request, Response
from pingvas.payment.v1.webhook_service_pb2 import ReceiveWebhookRequest, SignatureHeader
from pingvas.payment.v1.webhook_service_pb2_grpc import WebhookServiceStub

from edge_http.answers import JSON
from edge_http.documents import body_of
from edge_http.own_routes import OwnRoute, own_route
from svc_common.clients import channel
from svc_common.errors import Reason
from svc_common.mutual_tls import MutualTls
from svc_common.tokens import ServiceCredential

# Path -> provider. The last one is older and stays for whoever has configured it.
PATHS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "/api/v1/webhooks/lemon-squeezy": "lemon-squeezy",
        "/api/v1/webhooks/polar": "polar",
        "/api/v1/payments/webhook": "lemon-squeezy",
    }
)
CALLER: Final = "edge_http"
_BODY_BYTES: Final = 256 << 10
_HEADERS: Final = ("x-signature", "webhook-id", "webhook-timestamp", "webhook-signature")
_OK: Final = 200


class Webhooks:
    """Takes the reports of payment providers, for whom alone these addresses are."""

    def __init__(self, address: str, credential: ServiceCredential, tls: MutualTls | None = None) -> None:
        """Takes host:port; connects at the first report."""
        self._channel = channel(address, credential, tls=tls)
        self._payment = WebhookServiceStub(self._channel)

    @own_route(
        OwnRoute(
            ("POST",),
            tuple(PATHS),
            tag="PaymentReports",
            headers=dict.fromkeys(_HEADERS, "The provider's signature, or a part of it."),
            body={"application/json": {}},
            answers={_OK: "The report is kept, or is none of ours."},
            schema={"type": "object"},
            reasons=(Reason.REQUEST_TOO_LARGE, Reason.WEBHOOK_SIGNATURE_INVALID, Reason.WEBHOOK_UNKNOWN),
        )
    )
    async def receive(self, request: Request) -> Response:
        """Answers 200 when the report is kept or is none of ours, and otherwise with the refusal."""
        message = ReceiveWebhookRequest(
            provider=PATHS[request.url.path],
            body=await body_of(request, limit_bytes=_BODY_BYTES),
            headers=[
                SignatureHeader(name=name, value=value)
                for name in _HEADERS
                if (value := request.headers.get(name)) and value.isascii()
            ],
        )
        await self._payment.ReceiveWebhook(message)
        return Response(b"{}", media_type=JSON)

    async def close(self) -> None:
        """Closes the connection."""
        await self._channel.close()
