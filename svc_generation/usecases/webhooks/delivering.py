"""The deliverer: any number of processes take due deliveries side by side, each a different one.

A delivery is claimed by a lease in its row, sent outside of any transaction, and recorded if no later attempt has begun. So it
is sent once at least; the header `webhook-id` lets a receiver tell a repetition.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

import structlog
from standardwebhooks import Webhook

from svc_common.concurrency import end_tasks, is_set_within
from svc_common.db import Database
from svc_common.errors import ServiceError
from svc_generation.domain.webhooks import (
    GIVEN_UP_AFTER,
    DeliveryState,
    WebhookEvent,
    is_accepted,
    is_gone,
    next_attempt,
)
from svc_generation.store import hot, webhooks
from svc_generation.store.models import Job, WebhookDelivery, WebhookEndpoint, WebhookSecret
from svc_generation.usecases.webhooks.sending import Outcome, Sender

_log: Final = structlog.get_logger(__name__)

LEASE: Final = timedelta(seconds=60)
"""Far longer than an attempt may take."""
_POLL_SECONDS: Final = 1.0
_AT_ONCE: Final = 32
_AT_ONCE_PER_RECEIVER: Final = 4
_CLAIMED_AT_ONCE: Final = 8
_USER_AGENT: Final = "Pingvas-Webhooks/1.0"

BodyOf = Callable[[WebhookDelivery, Job | None], Awaitable[bytes]]


class Deliverer:
    """Delivers until it is stopped."""

    def __init__(
        self,
        *,
        database: Database,
        sender: Sender,
        body_of: BodyOf,
        secret_text: Callable[[bytes], str],
        now: Callable[[], datetime],
        poll_seconds: float = _POLL_SECONDS,
    ) -> None:
        """Takes the tasks' database, and what writes bodies and secrets as they are sent."""
        self._database = database
        self._sender = sender
        self._body_of = body_of
        self._secret_text = secret_text
        self._now = now
        self._poll_seconds = poll_seconds
        self._sending: set[asyncio.Task[None]] = set()
        self._busy: Counter[UUID] = Counter()

    async def run(self, stop: asyncio.Event) -> None:
        """Takes what is due, many at a time and few to one endpoint, until `stop` is set."""
        try:
            while not stop.is_set():
                took = 0
                if len(self._sending) < _AT_ONCE:
                    took = await self._begin_due()
                if not took:
                    await is_set_within(stop, self._poll_seconds)
        finally:
            # What is cut off here was claimed, and is sent again when its lease has passed.
            await end_tasks(*self._sending)

    async def deliver_due(self) -> int:
        """Attempts what is due once, waits for the outcomes, and returns how many there were."""
        count = await self._begin_due()
        await asyncio.gather(*self._sending)
        return count

    async def _begin_due(self) -> int:
        busy = [receiver for receiver, count in self._busy.items() if count >= _AT_ONCE_PER_RECEIVER]
        try:
            async with self._database.transaction() as session:
                claimed = await webhooks.claim_due(session, self._now(), LEASE, busy, _CLAIMED_AT_ONCE)
                accounts = {endpoint.account_id for _, endpoint in claimed if endpoint.of_job}
                secrets = await webhooks.find_account_secrets(session, accounts)
        except ServiceError as error:
            _log.warning("webhooks.postponed", error=str(error))
            return 0
        for delivery, endpoint in claimed:
            self._busy[_receiver(endpoint)] += 1
            signer = secrets.get(endpoint.account_id, endpoint) if endpoint.of_job else endpoint
            task = asyncio.create_task(self._deliver(delivery, endpoint, signer))
            self._sending.add(task)
            task.add_done_callback(self._sending.discard)
        return len(claimed)

    async def _deliver(
        self, delivery: WebhookDelivery, endpoint: WebhookEndpoint, signer: WebhookEndpoint | WebhookSecret
    ) -> None:
        receiver = _receiver(endpoint)
        try:
            outcome = await self._attempt(delivery, endpoint.url, signer)
            await self._record(delivery, endpoint, outcome)
        except ServiceError as error:
            _log.warning("webhooks.postponed", delivery_id=str(delivery.delivery_id), error=str(error))
        except Exception as error:  # noqa: BLE001 - one delivery must not end the others; its lease brings it back
            _log.error("webhooks.failed", delivery_id=str(delivery.delivery_id), exc_info=error)
        finally:
            self._busy[receiver] -= 1
            if not self._busy[receiver]:
                del self._busy[receiver]

    async def _attempt(self, delivery: WebhookDelivery, url: str, signer: WebhookEndpoint | WebhookSecret) -> Outcome:
        job = await hot.find_job(self._database, delivery.job_id) if delivery.job_id else None
        body, now, message_id = await self._body_of(delivery, job), self._now(), str(delivery.delivery_id)
        secrets = [signer.secret]
        if signer.old_secret and signer.old_secret_expire_time and now < signer.old_secret_expire_time:
            secrets.append(signer.old_secret)
        signed = [Webhook(self._secret_text(each)).sign(message_id, now, body.decode()) for each in secrets]
        headers = {
            "content-type": "application/json",
            "user-agent": _USER_AGENT,
            "webhook-id": message_id,
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": " ".join(signed),
        }
        return await self._sender.send(url, body, headers)

    async def _record(self, delivery: WebhookDelivery, endpoint: WebhookEndpoint, outcome: Outcome) -> None:
        now, event = self._now(), WebhookEvent(delivery.event)
        accepted = is_accepted(outcome.http_status)
        again = None if accepted else next_attempt(event, delivery.round_count, now)
        state = DeliveryState.DELIVERED if accepted else DeliveryState.PENDING if again else DeliveryState.FAILED
        error = "" if accepted else outcome.error or f"The endpoint answered {outcome.http_status}."
        async with self._database.transaction() as session:
            await webhooks.note_attempt(
                session, delivery, state, again, http_status=outcome.http_status, error=error, now=now
            )
            if accepted:
                await webhooks.note_success(session, endpoint.endpoint_id)
            elif event is not WebhookEvent.TEST:
                since = await webhooks.note_failure(session, endpoint.endpoint_id, now)
                if is_gone(outcome.http_status):
                    await webhooks.disable(session, endpoint.endpoint_id, "It answered 410 Gone.")
                elif since is not None and now - since >= GIVEN_UP_AFTER:
                    why = f"Every delivery has failed for {GIVEN_UP_AFTER.days} days. {error}"
                    await webhooks.disable(session, endpoint.endpoint_id, why)
        _log.info(
            "webhook.attempted",
            delivery_id=str(delivery.delivery_id),
            endpoint_id=str(endpoint.endpoint_id),
            attempt=delivery.attempt_count,
            status=outcome.http_status,
            error=error,
            seconds=round(outcome.took.total_seconds(), 3),
        )


def _receiver(endpoint: WebhookEndpoint) -> UUID:
    """Returns by what the requests to an endpoint are counted; `store.webhooks.claim_due` says why."""
    return endpoint.account_id if endpoint.of_job else endpoint.endpoint_id
