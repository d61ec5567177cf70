"""The providers' reports: kept at once when they come, applied one by one afterwards.

A provider gives up after a few tries, so receiving does as little as can fail. Applying goes on by itself: a report that
can't be applied is tried again for about a day, and then left to a person.
"""

import asyncio
import hashlib
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

import structlog

from svc_common.concurrency import end_tasks
from svc_common.errors import Reason, ServiceError
from svc_common.telemetry import WEBHOOKS
from svc_payment.domain.billing import Event
from svc_payment.providers.interface import ForeignReportError
from svc_payment.store import inbox as store
from svc_payment.store.models import Delivery
from svc_payment.usecases.applying import AccountUnknownError, Billing

_POLL_SECONDS: Final = 5.0
_FIRST_DELAY: Final = timedelta(seconds=2)
_LONGEST_DELAY: Final = timedelta(hours=2)
# 2 s, 4 s ... 1 h 8 min, then every 2 h: about a day.
_MOST_ATTEMPTS: Final = 22

_log: Final = structlog.get_logger("billing")


class Inbox:
    """Keeps reports and applies them."""

    def __init__(self, billing: Billing, *, now: Callable[[], datetime], new_id: Callable[[], UUID]) -> None:
        """Takes what applies them."""
        self._billing = billing
        self._now = now
        self._new_id = new_id
        self._arrived = asyncio.Event()

    async def receive(self, provider_name: str, body: bytes, headers: Mapping[str, str]) -> bool:
        """Keeps a report, and returns whether it concerns this deployment.

        Raises:
            ServiceError: WEBHOOK_UNKNOWN, WEBHOOK_SIGNATURE_INVALID or REQUEST_MALFORMED.
        """
        provider = self._billing.providers.get(provider_name)
        if provider is None:
            # The name is a stranger's: it must not become a label.
            WEBHOOKS.labels("", Reason.WEBHOOK_UNKNOWN.name).inc()
            raise ServiceError(
                Reason.WEBHOOK_UNKNOWN,
                f"This deployment has no payment provider {provider_name}.",
                metadata={"provider": provider_name},
            )
        try:
            name = provider.verify(body, headers, self._now())
        except ServiceError as refusal:
            WEBHOOKS.labels(provider_name, refusal.reason.name).inc()
            raise
        except ForeignReportError:
            WEBHOOKS.labels(provider_name, "FOREIGN").inc()
            _log.warning("webhook.foreign", provider=provider_name)
            return False
        digest = hashlib.sha256(body).digest()
        async with self._billing.database.transaction() as session:
            is_new = await store.keep(
                session, delivery_id=self._new_id(), provider=provider_name, name=name, body=body, sha256=digest
            )
        WEBHOOKS.labels(provider_name, "KEPT" if is_new else "REPEATED").inc()
        _log.info("webhook.received", provider=provider_name, name=name, is_new=is_new)
        self._arrived.set()
        return True

    async def run(self, stop: asyncio.Event) -> None:
        """Applies what comes until it is told to stop. Several replicas may do so at once."""
        while not stop.is_set():
            self._arrived.clear()
            try:
                while not stop.is_set() and await self.apply_next():
                    pass
            except ServiceError as error:
                _log.warning("inbox.postponed", error=str(error))
            await self._something_to_do(stop)

    async def apply_next(self) -> bool:
        """Applies the report that is due longest; returns whether there was one."""
        async with self._billing.database.transaction() as session:
            delivery = await store.next_due(session)
        if delivery is None:
            return False
        try:
            account_id = await self._apply(delivery)
        except Exception as error:  # noqa: BLE001 - one report must not hold up the others
            await self._put_off(delivery, error)
        else:
            if account_id is not None:
                await self._billing.announce(account_id)
        return True

    async def _apply(self, delivery: Delivery) -> UUID | None:
        provider = self._billing.providers[delivery.provider]
        report = provider.read(delivery.body)

        async def apply(events: Sequence[Event]) -> UUID | None:
            async with self._billing.database.transaction() as session:
                if not await store.claim(session, delivery.delivery_id):
                    return None
                if not events:
                    await store.close(session, delivery.delivery_id, "ignored")
                    return None
                account_id = await self._billing.apply(session, provider.name, events, reference=report.reference)
                await store.close(session, delivery.delivery_id, "applied")
                return account_id

        return await self._billing.resolve(provider, report.event, apply)

    async def _put_off(self, delivery: Delivery, error: Exception) -> None:
        is_last = delivery.attempts + 1 >= _MOST_ATTEMPTS
        given_up = "orphaned" if isinstance(error, AccountUnknownError) else "dead"
        report, event = (_log.error, "webhook.given_up") if is_last else (_log.warning, "webhook.put_off")
        report(
            event,
            provider=delivery.provider,
            name=delivery.name,
            delivery_id=str(delivery.delivery_id),
            error=str(error),
            # What is expected to happen needs no trace.
            exc_info=None if isinstance(error, ServiceError | AccountUnknownError) else error,
        )
        async with self._billing.database.transaction() as session:
            await store.put_off(
                session,
                delivery.delivery_id,
                state=given_up if is_last else "new",
                error=f"{type(error).__name__}: {error}",
                delay=min(_FIRST_DELAY * 2**delivery.attempts, _LONGEST_DELAY),
            )

    async def _something_to_do(self, stop: asyncio.Event) -> None:
        """Returns when a report has arrived here, after a while for those of other replicas, or at the stop."""
        stopping = asyncio.ensure_future(stop.wait())
        arrived = asyncio.ensure_future(self._arrived.wait())
        _, waiting = await asyncio.wait({stopping, arrived}, timeout=_POLL_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        await end_tasks(*waiting)
