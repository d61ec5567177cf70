"""Applies what providers report: finds the account, reduces under its lock, and lets the ledger do what follows.

All of a report is one transaction, so a crash leaves either nothing or everything of it, and the next try is a
repetition that changes nothing.

A state that may be older or newer than the known one is never guessed at: the provider is asked, outside any transaction,
and its answer is applied in place of the state. Times of asking and learning are by PostgreSQL's clock, which all
replicas share.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Final, ParamSpec, TypeVar
from uuid import UUID

import structlog
from sqlalchemy.ext.asyncio import AsyncSession

from svc_common.db import Database
from svc_payment.domain.billing import (
    Effect,
    Event,
    PackPaid,
    PaymentSettled,
    PlanState,
    Reason,
    is_doubtful,
    reduce,
)
from svc_payment.providers.interface import Provider, Report, does_not_answer
from svc_payment.store import billing as store

# An answer is doubtful only if another one was applied while it was on its way.
_MOST_QUESTIONS: Final = 5

ArgumentsT = ParamSpec("ArgumentsT")
ResultT = TypeVar("ResultT")

_log: Final = structlog.get_logger("billing")


class AccountUnknownError(Exception):
    """Means that a report names no account: neither what it is about nor its reference is known here."""


class DoubtfulStateError(Exception):
    """Means that a state may be older or newer than the known one. Nothing was applied."""


class Billing:
    """Applies reports; `database` must be of the role for tasks, and `announce` tells caches whose tier may be another."""

    def __init__(
        self,
        *,
        database: Database,
        providers: Mapping[str, Provider],
        announce: Callable[[UUID], Awaitable[None]],
    ) -> None:
        """Takes what it works with."""
        self.database = database
        self.providers = providers
        self.announce = announce

    async def call(
        self,
        provider: Provider,
        method: Callable[ArgumentsT, Awaitable[PlanState | None]],
        *args: ArgumentsT.args,
        **kwargs: ArgumentsT.kwargs,
    ) -> None:
        """Calls a method of a provider and applies the state with which it answers."""
        answer = await self._ask(method, *args, **kwargs)
        await self.apply_now(provider, Report("answered", answer))

    async def listed(self, provider: Provider, since: datetime) -> Sequence[Report]:
        """Returns what a provider lists as changed since a moment, with the time at which it was asked."""
        ask_time = await self._now()
        reports = await provider.list_since(since)
        return [
            replace(each, event=replace(each.event, ask_time=ask_time)) if isinstance(each.event, PlanState) else each
            for each in reports
        ]

    async def resolve(
        self, provider: Provider, event: Event | None, apply: Callable[[Sequence[Event]], Awaitable[ResultT]]
    ) -> ResultT:
        """Calls `apply` with the reports that an event stands for, and returns what it returns.

        Where it raises DoubtfulStateError, the provider is asked, and `apply` is called again with the answer.
        """
        events = await self._completed(provider, event)
        for _ in range(_MOST_QUESTIONS):
            try:
                return await apply(events)
            except DoubtfulStateError:
                _log.info("billing.doubtful", provider=provider.name, about=repr(event))
                events = await self._completed(provider, event, is_doubtful=True)
        raise does_not_answer(provider.name)

    async def _completed(
        self, provider: Provider, event: Event | None, *, is_doubtful: bool = False
    ) -> Sequence[Event]:
        """Returns the reports that an event stands for, which may need a look at the provider.

        A payment that doesn't name its plan is told together with its subscription as it is now: the two reports may come
        in either order, and a payment for a larger plan must not be taken for one of the plan before.
        """
        if event is None:
            return []
        if isinstance(event, PlanState) and is_doubtful:
            answer = await self._ask(provider.fetch, event.subscription_id)
            return [answer] if answer else []
        if not isinstance(event, PaymentSettled) or provider.capabilities.payments_name_plan:
            return [event]
        if event.reason is not Reason.CHANGE and await self._is_known(provider.name, event.subscription_id):
            return [event]
        fetched = await self._ask(provider.fetch, event.subscription_id)
        return [event] if fetched is None else [fetched, replace(event, plan_id=fetched.plan_id)]

    async def apply(
        self, session: AsyncSession, provider: str, events: Sequence[Event], *, reference: str = ""
    ) -> UUID:
        """Applies reports that belong together within the caller's transaction, and returns their account.

        Raises:
            AccountUnknownError: nobody knows whose they are.
            DoubtfulStateError: the provider must be asked first; `resolve` does so.
        """
        account_id = await self._account_of(session, provider, events, reference)
        await store.lock_account(session, account_id)
        catalogue = await store.catalogue(session)
        before = after = await store.state(session, provider, account_id)
        now = await store.now(session)
        effects: list[Effect] = []
        for event in events:
            if is_doubtful(after, event):
                raise DoubtfulStateError
            after, caused = reduce(after, event, catalogue, now)
            effects += caused
        await store.save(session, provider, account_id, before, after)
        await store.do(session, provider, account_id, effects)
        _log.info(
            "billing.applied",
            account_id=str(account_id),
            provider=provider,
            events=[type(event).__name__ for event in events],
            effects=[type(effect).__name__ for effect in effects],
        )
        return account_id

    async def apply_now(self, provider: Provider, report: Report) -> None:
        """Applies a report that was asked for, in a transaction of its own, then tells the caches."""

        async def apply(events: Sequence[Event]) -> UUID | None:
            if not events:
                return None
            async with self.database.transaction() as session:
                return await self.apply(session, provider.name, events, reference=report.reference)

        account_id = await self.resolve(provider, report.event, apply)
        if account_id is not None:
            await self.announce(account_id)

    async def _ask(
        self,
        method: Callable[ArgumentsT, Awaitable[PlanState | None]],
        *args: ArgumentsT.args,
        **kwargs: ArgumentsT.kwargs,
    ) -> PlanState | None:
        """Returns a provider's answer with the time at which it was asked."""
        ask_time = await self._now()
        answer = await method(*args, **kwargs)
        return answer and replace(answer, ask_time=ask_time)

    async def _now(self) -> datetime:
        async with self.database.transaction() as session:
            return await store.now(session)

    async def _is_known(self, provider: str, subscription_id: str) -> bool:
        async with self.database.transaction() as session:
            found = await store.subscription(session, provider, subscription_id)
        return found is not None and found.plan_id is not None

    async def _account_of(self, session: AsyncSession, provider: str, events: Sequence[Event], reference: str) -> UUID:
        """Returns whose reports they are: what is known stays with its account, whatever reference comes with it."""
        event = events[0]
        match event:
            case PackPaid():
                known = await store.account_of_invoice(session, provider, event.invoice_id)
            case _:
                found = await store.subscription(session, provider, event.subscription_id)
                known = found.account_id if found else None
        if known is not None:
            return known
        checkout = await store.checkout(session, provider, reference) if reference else None
        if checkout is None:
            raise AccountUnknownError(f"{provider} reports {_named(event)}, of which nobody here knows")
        return checkout.account_id


def _named(event: Event) -> str:
    match event:
        case PackPaid():
            return event.invoice_id
        case PlanState() | PaymentSettled():
            return f"the subscription {event.subscription_id}"
        case _:
            return f"a failure of the subscription {event.subscription_id}"
