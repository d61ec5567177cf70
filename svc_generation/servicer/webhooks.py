"""The users' service of webhook endpoints: registers, shows, changes, tries out, and shows what became of deliveries."""

import hashlib
from collections.abc import Callable
from datetime import datetime
from typing import Final
from uuid import UUID

from pingvas.generation.v1 import webhook_endpoint_service_pb2, webhook_endpoint_service_pb2_grpc, webhook_pb2
from sqlalchemy.ext.asyncio import AsyncSession

from svc_common.caller import current_account, current_user
from svc_common.db import Database, take_turn
from svc_common.errors import Reason, ServiceError, invalid_field
from svc_common.idempotency import idempotency_key, idempotency_key_reused
from svc_common.paging import PageTokens, moment_and_id, page_size
from svc_generation.domain.webhooks import MOST_ENDPOINTS, SECRET_OVERLAP, DeliveryState, WebhookEvent, check_url
from svc_generation.messages.refusals import no_such_webhook
from svc_generation.messages.webhooks import account_secret_message, delivery_message, endpoint_message
from svc_generation.store import webhooks
from svc_generation.store.models import WebhookDelivery, WebhookEndpoint, WebhookSecret

_CHANGEABLE: Final = ("url", "description", "events", "named_jobs_only", "disabled")


class WebhookEndpointServicer(webhook_endpoint_service_pb2_grpc.WebhookEndpointServiceServicer):
    """Implements pingvas.generation.v1.WebhookEndpointService."""

    def __init__(
        self,
        *,
        database: Database,
        page_tokens: PageTokens,
        now: Callable[[], datetime],
        new_id: Callable[[], UUID],
        new_secret: Callable[[], bytes],
        allows_private: bool,
    ) -> None:
        """Takes the parts; `allows_private` lets addresses of this machine and its network be registered."""
        self._database = database
        self._page_tokens = page_tokens
        self._now = now
        self._new_id = new_id
        self._new_secret = new_secret
        self._allows_private = allows_private

    async def CreateWebhookEndpoint(
        self, request: webhook_endpoint_service_pb2.CreateWebhookEndpointRequest, _context: object
    ) -> webhook_pb2.WebhookEndpoint:
        """Registers an address."""
        account_id, key = current_account(), idempotency_key(request.request_id)
        check_url(request.url, allows_private=self._allows_private)
        terms = _terms(request)
        async with self._database.transaction(account_id) as session:
            # Twins take turns, and the count below holds until the commit.
            await take_turn(session, f"webhooks:{account_id}")
            if key and (made := await webhooks.find_request(session, account_id, key)):
                if made.request_hash != terms:
                    raise idempotency_key_reused(key)
                return endpoint_message(made)
            if await webhooks.count_endpoints(session, account_id) >= MOST_ENDPOINTS:
                raise ServiceError(
                    Reason.TOO_MANY_WEBHOOKS,
                    f"An account has at most {MOST_ENDPOINTS} webhook endpoints. Delete one first.",
                    metadata={"limit": str(MOST_ENDPOINTS)},
                )
            endpoint = WebhookEndpoint(
                endpoint_id=self._new_id(),
                account_id=account_id,
                created_by=current_user(),
                request_id=key or None,
                request_hash=terms,
                url=request.url,
                description=request.description,
                events=list(request.events),
                named_jobs_only=request.named_jobs_only,
                secret=self._new_secret(),
                create_time=self._now(),
            )
            session.add(endpoint)
            await session.flush()
            return endpoint_message(endpoint, shows_secret=True)

    async def ListWebhookEndpoints(
        self, request: webhook_endpoint_service_pb2.ListWebhookEndpointsRequest, _context: object
    ) -> webhook_endpoint_service_pb2.ListWebhookEndpointsResponse:
        """Lists the account's endpoints, newest first."""
        account_id, size = current_account(), page_size(request.page_size)
        scope = f"webhooks:{account_id}"
        before = moment_and_id(self._page_tokens.decode(request.page_token, scope)) if request.page_token else None
        async with self._database.transaction(account_id) as session:
            rows = await webhooks.list_endpoints(session, account_id, before, size + 1)
        page, token = self._page_tokens.cut(
            rows, size, scope, lambda row: (row.create_time.isoformat(), str(row.endpoint_id))
        )
        return webhook_endpoint_service_pb2.ListWebhookEndpointsResponse(
            endpoints=map(endpoint_message, page), next_page_token=token
        )

    async def UpdateWebhookEndpoint(
        self, request: webhook_endpoint_service_pb2.UpdateWebhookEndpointRequest, _context: object
    ) -> webhook_pb2.WebhookEndpoint:
        """Changes an endpoint."""
        account_id, paths = current_account(), set(request.update_mask.paths)
        if not paths or not paths <= set(_CHANGEABLE):
            raise invalid_field("update_mask", f"must name fields of {', '.join(_CHANGEABLE)}")
        if "url" in paths:
            check_url(request.url, allows_private=self._allows_private)
        if "events" in paths and not request.events:
            raise invalid_field("events", "must name one event at least")
        async with self._database.transaction(account_id) as session:
            endpoint = await _own_endpoint(session, account_id, request.endpoint_id)
            for path in paths:
                setattr(endpoint, path, list(request.events) if path == "events" else getattr(request, path))
            if "disabled" in paths:
                endpoint.disable_reason, endpoint.failing_since = "", None
                if request.disabled:
                    await webhooks.give_up_pending(session, endpoint.endpoint_id)
            await session.flush()
            return endpoint_message(endpoint)

    async def DeleteWebhookEndpoint(
        self, request: webhook_endpoint_service_pb2.DeleteWebhookEndpointRequest, _context: object
    ) -> webhook_endpoint_service_pb2.DeleteWebhookEndpointResponse:
        """Deletes an endpoint."""
        account_id = current_account()
        async with self._database.transaction(account_id) as session:
            await webhooks.delete_endpoint(session, account_id, UUID(request.endpoint_id))
        return webhook_endpoint_service_pb2.DeleteWebhookEndpointResponse()

    async def RotateWebhookSecret(
        self, request: webhook_endpoint_service_pb2.RotateWebhookSecretRequest, _context: object
    ) -> webhook_pb2.WebhookEndpoint:
        """Makes a new secret."""
        account_id = current_account()
        async with self._database.transaction(account_id) as session:
            endpoint = await _own_endpoint(session, account_id, request.endpoint_id)
            self._rotate(endpoint)
            await session.flush()
            return endpoint_message(endpoint, shows_secret=True)

    async def TestWebhookEndpoint(
        self, request: webhook_endpoint_service_pb2.TestWebhookEndpointRequest, _context: object
    ) -> webhook_pb2.WebhookDelivery:
        """Puts a test event into the outbox."""
        account_id, now = current_account(), self._now()
        async with self._database.transaction(account_id) as session:
            endpoint = await _own_endpoint(session, account_id, request.endpoint_id)
            delivery = WebhookDelivery(
                delivery_id=self._new_id(),
                endpoint_id=endpoint.endpoint_id,
                account_id=account_id,
                event=WebhookEvent.TEST,
                state=DeliveryState.PENDING,
                create_time=now,
                next_attempt_time=now,
            )
            session.add(delivery)
            await session.flush()
            return delivery_message(delivery)

    async def ListWebhookDeliveries(
        self, request: webhook_endpoint_service_pb2.ListWebhookDeliveriesRequest, _context: object
    ) -> webhook_endpoint_service_pb2.ListWebhookDeliveriesResponse:
        """Lists the deliveries to an endpoint, newest first."""
        account_id, size = current_account(), page_size(request.page_size)
        endpoint_id = UUID(request.endpoint_id)
        scope = f"deliveries:{account_id}:{endpoint_id}"
        before = moment_and_id(self._page_tokens.decode(request.page_token, scope)) if request.page_token else None
        async with self._database.transaction(account_id) as session:
            if await webhooks.get_endpoint(session, account_id, endpoint_id, of_jobs=True) is None:
                raise no_such_webhook(request.endpoint_id)
            rows = await webhooks.list_deliveries(session, endpoint_id, before, size + 1)
        page, token = self._page_tokens.cut(
            rows, size, scope, lambda row: (row.create_time.isoformat(), str(row.delivery_id))
        )
        return webhook_endpoint_service_pb2.ListWebhookDeliveriesResponse(
            deliveries=map(delivery_message, page), next_page_token=token
        )

    async def ReplayWebhookDelivery(
        self, request: webhook_endpoint_service_pb2.ReplayWebhookDeliveryRequest, _context: object
    ) -> webhook_pb2.WebhookDelivery:
        """Makes a delivery due again."""
        account_id = current_account()
        async with self._database.transaction(account_id) as session:
            row = await webhooks.replay(session, account_id, UUID(request.delivery_id), self._now())
            if row is None:
                raise no_such_webhook(request.delivery_id)
            return delivery_message(row)

    async def GetAccountWebhookSecret(
        self, _request: webhook_endpoint_service_pb2.GetAccountWebhookSecretRequest, _context: object
    ) -> webhook_pb2.AccountWebhookSecret:
        """Returns the secret for the addresses that jobs bring along."""
        account_id, now = current_account(), self._now()
        async with self._database.transaction(account_id) as session:
            row = await webhooks.account_secret(session, account_id, self._new_secret(), now)
            return account_secret_message(row, now)

    async def RotateAccountWebhookSecret(
        self, _request: webhook_endpoint_service_pb2.RotateAccountWebhookSecretRequest, _context: object
    ) -> webhook_pb2.AccountWebhookSecret:
        """Makes a new secret for the addresses that jobs bring along."""
        account_id, now = current_account(), self._now()
        async with self._database.transaction(account_id) as session:
            row = await webhooks.account_secret(session, account_id, self._new_secret(), now, locked=True)
            self._rotate(row)
            await session.flush()
            return account_secret_message(row, now)

    def _rotate(self, row: WebhookEndpoint | WebhookSecret) -> None:
        row.old_secret, row.secret = row.secret, self._new_secret()
        row.old_secret_expire_time = self._now() + SECRET_OVERLAP


async def _own_endpoint(session: AsyncSession, account_id: UUID, endpoint_id: str) -> WebhookEndpoint:
    endpoint = await webhooks.get_endpoint(session, account_id, UUID(endpoint_id), locked=True)
    if endpoint is None:
        raise no_such_webhook(endpoint_id)
    return endpoint


def _terms(request: webhook_endpoint_service_pb2.CreateWebhookEndpointRequest) -> bytes:
    """Returns SHA-256 of what is asked for, by which another request under the same id is told."""
    terms = webhook_endpoint_service_pb2.CreateWebhookEndpointRequest()
    terms.CopyFrom(request)
    terms.ClearField("request_id")
    return hashlib.sha256(terms.SerializeToString(deterministic=True)).digest()
