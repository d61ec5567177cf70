"""What a person does with plans and packs: opens a checkout, cancels, resumes, moves, and asks the provider again.

A provider is always called outside transactions, and what it answers is applied like any report of its own. A reply that
is lost on the way is made good by the report that follows, or by the reconciliation.
"""

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from svc_common.db import Database
from svc_common.errors import Reason, ServiceError
from svc_common.idempotency import idempotency_key_reused
from svc_payment.domain.billing import ItemKind, Plan, Status, Subscription
from svc_payment.providers.interface import ChangeTime, CheckoutOrder, Provider, Report
from svc_payment.store import billing as store
from svc_payment.store import models
from svc_payment.store.billing import Entitlement
from svc_payment.usecases.applying import Billing
from svc_payment.usecases.entitlement import entitlement
from svc_payment.usecases.reconciling import Listings

_CHECKOUT_LIFE: Final = timedelta(hours=24)


@dataclass(frozen=True, slots=True)
class Shop:
    """Where checkouts are opened: at one provider, of those that are known, and where browsers come back to."""

    provider: Provider | None
    return_url: str

    def sells(self, item_id: str) -> bool:
        """Returns whether something can be bought here."""
        return self.provider is not None and self.provider.sells(item_id)


class Subscribing:
    """Sells, and changes what was sold."""

    def __init__(
        self,
        *,
        database: Database,
        billing: Billing,
        shop: Shop,
        listings: Listings,
        now: Callable[[], datetime],
        new_id: Callable[[], UUID],
    ) -> None:
        """Takes the database of the role for requests; what was bought is written by `billing`."""
        self._database = database
        self._billing = billing
        self._shop = shop
        self._listings = listings
        self._now = now
        self._new_id = new_id

    async def create_checkout(
        self, account_id: UUID, kind: ItemKind, item_id: str, *, request_id: str
    ) -> models.Checkout:
        """Opens a page to pay on, or returns the one that the same request opened before."""
        async with self._database.transaction(account_id) as session:
            earlier = await store.checkout_of_request(session, account_id, request_id) if request_id else None
            catalogue = await store.catalogue(session)
            standing = await entitlement(session, account_id)
        if earlier:
            return _same_item(earlier, kind, item_id, request_id)
        item = catalogue.plans.get(item_id) if kind is ItemKind.PLAN else catalogue.packs.get(item_id)
        provider = self._shop.provider
        if item is None or provider is None or not provider.sells(item_id):
            raise product_not_found(item_id)
        if kind is ItemKind.PLAN and standing.subscription is not None:
            raise subscription_exists(standing.subscription.plan_id or "")
        # 192 random bits: whoever knows it can pay for the account, and nothing else.
        reference, now = secrets.token_urlsafe(24), self._now()
        order = CheckoutOrder(reference, item_id, self._shop.return_url, now + _CHECKOUT_LIFE)
        url = await provider.create_checkout(order)
        values = {
            "reference": reference,
            "checkout_id": self._new_id(),
            "account_id": account_id,
            "request_id": request_id or None,
            "provider": provider.name,
            "item_kind": kind.value,
            "item_id": item_id,
            "url": url,
            "create_time": now,
            "expire_time": order.expire_time,
        }
        async with self._database.transaction(account_id) as session:
            if await store.add_checkout(session, values):
                return models.Checkout(**values)
            # The same request, at the same time, was faster.
            winner = await store.checkout_of_request(session, account_id, request_id)
        if winner is None:
            raise RuntimeError("a checkout was neither added nor found")
        return _same_item(winner, kind, item_id, request_id)

    async def current(self, account_id: UUID) -> Entitlement:
        """Returns what an account may do and by which subscription."""
        async with self._database.transaction(account_id) as session:
            return await entitlement(session, account_id)

    async def cancel(self, account_id: UUID) -> Entitlement:
        """Ends the renewal; does nothing when it has been ended."""
        held, provider = await self._subscription_as_it_is(account_id)
        if held.status is not Status.CANCELLED:
            await self._billing.call(provider, provider.cancel, held.subscription_id)
        return await self.current(account_id)

    async def pause(self, account_id: UUID) -> Entitlement:
        """Stops charging and serving until it is resumed; does nothing when it is paused."""
        held, provider = await self._subscription_as_it_is(account_id)
        if not provider.capabilities.pauses:
            raise pause_unsupported(provider.name)
        if held.status not in (Status.ACTIVE, Status.PAUSED):
            raise not_active(held.status)
        if held.status is Status.ACTIVE:
            await self._billing.call(provider, provider.pause, held.subscription_id)
        return await self.current(account_id)

    def can_pause(self, held: Entitlement) -> bool:
        """Returns whether `pause` would do something."""
        provider = self._billing.providers.get(held.provider)
        is_active = held.subscription is not None and held.subscription.status is Status.ACTIVE
        return is_active and provider is not None and provider.capabilities.pauses

    async def resume(self, account_id: UUID) -> Entitlement:
        """Takes a cancellation back or ends a pause; does nothing when there is neither."""
        held, provider = await self._subscription_as_it_is(account_id)
        if held.status is Status.CANCELLED:
            await self._billing.call(provider, provider.resume, held.subscription_id)
        elif held.status is Status.PAUSED:
            await self._billing.call(provider, provider.unpause, held.subscription_id)
        return await self.current(account_id)

    async def change_plan(self, account_id: UUID, plan_id: str) -> Entitlement:
        """Moves to a larger plan at once and to a smaller one at the next renewal."""
        held, provider = await self._subscription_as_it_is(account_id)
        async with self._database.transaction(account_id) as session:
            plans = (await store.catalogue(session)).plans
        wanted, present = plans.get(plan_id), plans.get(held.plan_id or "")
        if wanted is None or present is None or not wanted.is_for_sale or not provider.sells(plan_id):
            raise product_not_found(plan_id)
        # A first payment that isn't known yet would otherwise be taken for one of the new plan.
        if held.status is not Status.ACTIVE or held.paid_time is None:
            raise not_active(held.status)
        if _is_larger(wanted, present):
            await self._billing.call(provider, provider.change_plan, held.subscription_id, plan_id, ChangeTime.NOW)
            return await self.current(account_id)
        if provider.capabilities.moves_at_renewal:
            await self._billing.call(
                provider, provider.change_plan, held.subscription_id, plan_id, ChangeTime.AT_RENEWAL
            )
        async with self._billing.database.transaction() as session:
            await store.lock_account(session, account_id)
            next_plan_id = None if plan_id == held.plan_id else plan_id
            await store.set_next_plan(session, provider.name, held.subscription_id, next_plan_id)
        return await self.current(account_id)

    async def portal_url(self, account_id: UUID) -> str:
        """Returns the address of the customer's own pages at the provider of the latest subscription."""
        async with self._database.transaction(account_id) as session:
            rows = (await store.holdings(session, account_id)).subscriptions
        known = [row for row in rows if row.provider in self._billing.providers]
        if not known:
            raise subscription_not_found()
        latest = max(known, key=lambda row: row.update_time)
        return await self._billing.providers[latest.provider].portal_url(latest.subscription_id)

    async def sync(self, account_id: UUID) -> Entitlement:
        """Asks the providers how the account's subscriptions and payments stand, and applies what they say."""
        async with self._database.transaction(account_id) as session:
            rows = (await store.holdings(session, account_id)).subscriptions
            references = await store.references(session, account_id)
        for name, provider in self._billing.providers.items():
            own = {row.subscription_id for row in rows if row.provider == name}
            for subscription_id in own:
                await self._billing.call(provider, provider.fetch, subscription_id)
            for report in await self._listings.of(provider):
                if report.reference in references or _subject(report) in own:
                    await self._billing.apply_now(provider, report)
        return await self.current(account_id)

    async def _subscription_as_it_is(self, account_id: UUID) -> tuple[Subscription, Provider]:
        """Returns the subscription that decides over an account, as its provider has it.

        What is known here may be late, and not every provider takes a request that changes nothing.
        """
        held = await self.current(account_id)
        provider = self._billing.providers.get(held.provider)
        if held.subscription is None or provider is None:
            raise subscription_not_found()
        await self._billing.call(provider, provider.fetch, held.subscription.subscription_id)
        held = await self.current(account_id)
        if held.subscription is None or held.provider != provider.name:
            raise subscription_not_found()
        return held.subscription, provider


def _is_larger(wanted: Plan, present: Plan) -> bool:
    return (wanted.price_cents or 0) > (present.price_cents or 0)


def _subject(report: Report) -> str:
    """Returns the subscription that a report is about, empty for none."""
    return str(getattr(report.event, "subscription_id", ""))


def _same_item(earlier: models.Checkout, kind: ItemKind, item_id: str, request_id: str) -> models.Checkout:
    if (earlier.item_kind, earlier.item_id) != (kind.value, item_id):
        raise idempotency_key_reused(request_id)
    return earlier


def product_not_found(item_id: str) -> ServiceError:
    """Returns the refusal of something that isn't sold here."""
    return ServiceError(
        Reason.PRODUCT_NOT_FOUND,
        f"{item_id!r} isn't sold here. ListPlans and ListPacks show what is.",
        metadata={"item_id": item_id},
    )


def subscription_exists(plan_id: str) -> ServiceError:
    """Returns the refusal to sell a second subscription."""
    return ServiceError(
        Reason.SUBSCRIPTION_EXISTS,
        f"This account has the plan {plan_id} already. Change its plan in place of subscribing again.",
        metadata={"plan_id": plan_id},
    )


def subscription_not_found() -> ServiceError:
    """Returns the refusal to change what isn't there."""
    return ServiceError(
        Reason.SUBSCRIPTION_NOT_FOUND, "This account has no subscription. Open a checkout for a plan.", metadata={}
    )


def pause_unsupported(provider: str) -> ServiceError:
    """Returns the refusal to pause at a provider that can't."""
    return ServiceError(
        Reason.PAUSE_UNSUPPORTED,
        "The payment provider can't pause subscriptions. Cancel this one; until it ends it can be resumed.",
        metadata={"provider": provider},
    )


def not_active(status: Status) -> ServiceError:
    """Returns the refusal to move a subscription that isn't paid."""
    return ServiceError(
        Reason.SUBSCRIPTION_NOT_ACTIVE,
        "That is possible when the plan's payment has arrived and it isn't cancelled. Resume it, pay, or wait a moment.",
        metadata={"state": status.value},
    )
