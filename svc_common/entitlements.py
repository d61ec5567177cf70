"""What accounts are entitled to, as svc_payment says: asked for, remembered, and asked for again after a change.

An entitlement decides about every call and every job, so that it is neither asked for each time nor used for long after
somebody has paid: svc_payment announces changes, and each caller says how old an answer may be that it acts on, in case an
announcement was lost.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final
from uuid import UUID

import structlog
from pingvas.payment.v1 import entitlement_pb2, ledger_service_pb2, ledger_service_pb2_grpc
from redis.asyncio import Redis

from svc_common.events import hear_hints
from svc_common.redis_client import REDIS_ERRORS

_log: Final = structlog.get_logger("entitlements")

ENTITLEMENT_CHANGED: Final = "entitlement:changed"
"""The channel on which svc_payment names each account whose entitlement has changed."""
LIFETIME_SECONDS: Final = 60.0
_PATIENCE_SECONDS: Final = 0.5
_PAUSE_SECONDS: Final = 1.0
"""For so long nobody asks a payment that has failed, so that an outage costs one call a second its patience."""
_KEPT: Final = 20_000
_NEVER: Final = float("-inf")

Fetch = Callable[[UUID], Awaitable[entitlement_pb2.Entitlement]]


def from_ledger(ledger: "ledger_service_pb2_grpc.LedgerServiceAsyncStub") -> Fetch:
    """Returns how services other than payment ask for entitlements."""

    async def fetch(account_id: UUID) -> entitlement_pb2.Entitlement:
        return await ledger.GetEntitlement(ledger_service_pb2.GetEntitlementRequest(account_id=str(account_id)))

    return fetch


def announcer(redis: Redis) -> Callable[[UUID], Awaitable[None]]:
    """Returns how payment announces that an account's entitlement has changed.

    It is a hint that may be lost: whoever remembers entitlements asks again after some seconds, so a Redis that is away fails
    nobody's call.
    """

    async def announce(account_id: UUID) -> None:
        try:
            await redis.publish(ENTITLEMENT_CHANGED, str(account_id))
        except REDIS_ERRORS as error:
            _log.warning("entitlement.announcement_lost", account_id=str(account_id), error=str(error))

    return announce


@dataclass(frozen=True, slots=True)
class _Known:
    """Holds an answer and when it was asked for: what comes back may be as old as the question."""

    asked_at: float
    entitlement: entitlement_pb2.Entitlement


class Entitlements:
    """The entitlements that a process knows."""

    def __init__(self, fetch: Fetch, *, monotonic_seconds: Callable[[], float] = time.monotonic) -> None:
        """Takes whom to ask and a clock that never goes back."""
        self._fetch = fetch
        self._monotonic_seconds = monotonic_seconds
        self._known: OrderedDict[UUID, _Known] = OrderedDict()
        self._questions: dict[UUID, asyncio.Task[entitlement_pb2.Entitlement]] = {}
        self._away_until = _NEVER
        self._changes = 0

    async def of(self, account_id: UUID, *, at_most_seconds: float = LIFETIME_SECONDS) -> entitlement_pb2.Entitlement:
        """Returns an account's entitlement, at most so old.

        Raises:
            ServiceError: DEPENDENCY_UNAVAILABLE when it isn't known and svc_payment is away.
        """
        known = self._known.get(account_id)
        if known is not None and self._monotonic_seconds() < known.asked_at + at_most_seconds:
            return known.entitlement
        question = self._questions.get(account_id)
        if question is None:
            question = asyncio.ensure_future(self._ask(account_id))
            self._questions[account_id] = question
            question.add_done_callback(lambda done: self._forget_question(account_id, done))
        return await asyncio.shield(question)

    async def last_known(self, account_id: UUID) -> entitlement_pb2.Entitlement | None:
        """Returns an account's entitlement; while svc_payment is away what was known before, or None.

        Never raises, and waits half a second at most.
        """
        if self._monotonic_seconds() >= self._away_until:
            try:
                async with asyncio.timeout(_PATIENCE_SECONDS):
                    return await self.of(account_id)
            except Exception as error:  # noqa: BLE001 - whatever fails here must not fail a call that may be within its limits
                self._away_until = self._monotonic_seconds() + _PAUSE_SECONDS
                _log.warning("entitlements.payment_away", error=repr(error))
        known = self._known.get(account_id)
        return None if known is None else known.entitlement

    def expire(self, account_id: UUID) -> None:
        """Asks again at the next use because the account's entitlement has changed."""
        self._changes += 1
        self._questions.pop(account_id, None)
        if known := self._known.get(account_id):
            self._known[account_id] = _Known(_NEVER, known.entitlement)

    def expire_all(self) -> None:
        """Asks again about every account because a change may have been missed."""
        self._changes += 1
        self._questions.clear()
        for account_id in self._known:
            self._known[account_id] = _Known(_NEVER, self._known[account_id].entitlement)

    async def hear_changes(self, redis: Redis) -> None:
        """Expires what svc_payment announces as changed, until cancelled; the client must not repair lost connections."""
        await hear_hints(redis, ENTITLEMENT_CHANGED, lambda account_id: self.expire(UUID(account_id)), self.expire_all)

    async def _ask(self, account_id: UUID) -> entitlement_pb2.Entitlement:
        asked_at, changes = self._monotonic_seconds(), self._changes
        entitlement = await self._fetch(account_id)
        # What was read while an entitlement changed may be from before the change.
        self._known[account_id] = _Known(asked_at if self._changes == changes else _NEVER, entitlement)
        self._known.move_to_end(account_id)
        if len(self._known) > _KEPT:
            self._known.popitem(last=False)
        return entitlement

    def _forget_question(self, account_id: UUID, done: "asyncio.Task[entitlement_pb2.Entitlement]") -> None:
        if self._questions.get(account_id) is done:
            del self._questions[account_id]
        if not done.cancelled():
            done.exception()  # looked at, or asyncio would log it as forgotten when nobody waits any more
