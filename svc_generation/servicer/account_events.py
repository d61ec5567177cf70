"""Serves AccountEventService: takes events of accounts from other services, for the webhooks that want them."""

from collections.abc import Callable
from datetime import datetime
from uuid import UUID

from pingvas.generation.v1 import account_event_service_pb2, account_event_service_pb2_grpc

from svc_common.db import Database
from svc_generation.domain.webhooks import WebhookEvent
from svc_generation.store import webhooks


class AccountEventServicer(account_event_service_pb2_grpc.AccountEventServiceServicer):
    """Implements pingvas.generation.v1.AccountEventService."""

    def __init__(self, database: Database, now: Callable[[], datetime]) -> None:
        """Takes the requests' database."""
        self._database = database
        self._now = now

    async def PublishAccountEvent(
        self, request: account_event_service_pb2.PublishAccountEventRequest, _context: object
    ) -> account_event_service_pb2.PublishAccountEventResponse:
        """Puts an event into the outbox of each endpoint that wants it."""
        account_id = UUID(request.account_id)
        async with self._database.transaction(account_id) as session:
            count = await webhooks.add_account_event(
                session,
                event=WebhookEvent.CREDITS_LOW,
                event_id=UUID(request.request_id),
                account_id=account_id,
                content=request.low_balance.SerializeToString(),
                now=self._now(),
            )
        return account_event_service_pb2.PublishAccountEventResponse(delivery_count=count)
