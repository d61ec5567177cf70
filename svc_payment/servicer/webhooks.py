"""WebhookService: takes what payment providers report, as the HTTP bridge received it."""

from pingvas.payment.v1 import webhook_service_pb2, webhook_service_pb2_grpc

from svc_payment.usecases.inbox import Inbox


class WebhookServicer(webhook_service_pb2_grpc.WebhookServiceServicer):
    """Serves pingvas.payment.v1.WebhookService."""

    def __init__(self, *, inbox: Inbox) -> None:
        self._inbox = inbox

    async def ReceiveWebhook(
        self, request: webhook_service_pb2.ReceiveWebhookRequest, _context: object
    ) -> webhook_service_pb2.ReceiveWebhookResponse:
        """Checks a report and keeps it."""
        headers = {header.name: header.value for header in request.headers}
        is_kept = await self._inbox.receive(request.provider, request.body, headers)
        return webhook_service_pb2.ReceiveWebhookResponse(is_kept=is_kept)
