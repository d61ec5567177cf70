"""Reads and writes what is sold and what was bought. Each function takes part in the caller's transaction."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from pingvas.vocabulary import Tier
from sqlalchemy import func, select, text, tuple_, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from svc_payment.domain import billing
from svc_payment.domain.billing import (
    Catalogue,
    Effect,
    EndGrants,
    GrantPack,
    GrantPlan,
    Pack,
    Plan,
    Reason,
    Revoke,
    State,
    Status,
)
from svc_payment.domain.ledger import SPENDING_PRIORITY, GrantKind, GrantOutcome, GrantTerms
from svc_payment.domain.standing import Standing
from svc_payment.store import models, queries

_GRANT_PLAN: Final = text("""
    SELECT payment.grant_plan_credits(:account_id, :request_id, CAST(:priority AS smallint), :amount,
        CAST(:replaces AS text[]), :keeps_spending, :is_superseded)
""")
_END_GRANTS: Final = text("SELECT payment.end_grants(:account_id, CAST(:request_ids AS text[]))")
_REVOKE_GRANT: Final = text("SELECT payment.revoke_grant(:account_id, :request_id, :target)")
_LOCK_ACCOUNT: Final = text("SELECT pg_advisory_xact_lock(hashtextextended('payment.billing:' || :account_id, 0))")


async def catalogue(session: AsyncSession) -> Catalogue:
    """Returns what is sold."""
    plans = (await session.scalars(select(models.Plan).order_by(models.Plan.position))).all()
    packs = (await session.scalars(select(models.Pack).order_by(models.Pack.position))).all()
    return Catalogue(
        {row.plan_id: Plan(row.plan_id, Tier.of(row.tier), row.price_cents, row.credits) for row in plans},
        {row.pack_id: Pack(row.pack_id, row.price_cents, row.credits) for row in packs},
    )


async def all_limits(session: AsyncSession) -> dict[Tier, models.TierLimits]:
    """Returns the limits of every tier."""
    return {Tier.of(row.tier): row for row in (await session.scalars(select(models.TierLimits))).all()}


@dataclass(frozen=True, slots=True)
class Holdings:
    """What decides over an account's tier: the one that an operator gave it, and its subscriptions, at one moment."""

    given_tier: Tier
    subscriptions: list[models.Subscription]
    now: datetime


@dataclass(frozen=True, slots=True)
class Entitlement:
    """The tier of an account with its limits, and whether new work may begin.

    `subscription` is the one that decides, with the provider that has it and how it stands by itself; None when none does.
    """

    tier: Tier
    limits: models.TierLimits
    standing: Standing
    subscription: billing.Subscription | None
    provider: str
    own_standing: Standing = Standing.GOOD


async def holdings(session: AsyncSession, account_id: UUID) -> Holdings:
    """Returns what an account has, at the ledger's clock; one that payment has never heard of has nothing."""
    given = select(models.Entitlement.tier).where(models.Entitlement.account_id == account_id).scalar_subquery()
    moment = select(given.label("tier"), func.payment.ledger_now().label("now")).subquery()
    query = select(moment.c.tier, moment.c.now, models.Subscription).outerjoin(
        models.Subscription, models.Subscription.account_id == account_id
    )
    rows = (await session.execute(query)).all()
    found = [row.Subscription for row in rows if row.Subscription is not None]
    return Holdings(Tier.of(rows[0].tier or Tier.FREE.label), found, rows[0].now)


def subscription_of(row: models.Subscription) -> billing.Subscription:
    """Returns the value of a row."""
    return billing.Subscription(**{**_columns(row, billing.Subscription), "status": Status(row.status)})


def invoice_of(row: models.Invoice) -> billing.Invoice:
    """Returns the value of a row."""
    return billing.Invoice(**{**_columns(row, billing.Invoice), "reason": Reason(row.reason)})


async def now(session: AsyncSession) -> datetime:
    """Returns the ledger's time, which all replicas share."""
    moment: datetime = (await session.execute(select(func.payment.ledger_now()))).scalar_one()
    return moment


async def lock_account(session: AsyncSession, account_id: UUID) -> None:
    """Waits until nobody else applies a report to the account; the transaction's end gives it free."""
    await session.execute(_LOCK_ACCOUNT, {"account_id": str(account_id)})


async def state(session: AsyncSession, provider: str, account_id: UUID) -> State:
    """Returns what is known of an account at a provider."""
    bought = select(models.Subscription).where(
        models.Subscription.provider == provider, models.Subscription.account_id == account_id
    )
    paid = select(models.Invoice).where(models.Invoice.provider == provider, models.Invoice.account_id == account_id)
    return State(
        {row.subscription_id: subscription_of(row) for row in (await session.scalars(bought)).all()},
        {row.invoice_id: invoice_of(row) for row in (await session.scalars(paid)).all()},
    )


async def save(session: AsyncSession, provider: str, account_id: UUID, before: State, after: State) -> None:
    """Writes what differs between two states of an account."""
    owner = {"provider": provider, "account_id": account_id}
    for subscription_id, subscription in after.subscriptions.items():
        if before.subscriptions.get(subscription_id) != subscription:
            await _put(session, models.Subscription, "subscription_id", owner, subscription)
    for invoice_id, invoice in after.invoices.items():
        if before.invoices.get(invoice_id) != invoice:
            await _put(session, models.Invoice, "invoice_id", owner, invoice)


async def do(session: AsyncSession, provider: str, account_id: UUID, effects: Iterable[Effect]) -> None:
    """Lets the ledger do what a report asks for; a repetition does nothing."""
    for effect in effects:
        match effect:
            case GrantPlan():
                parameters = {
                    "account_id": account_id,
                    "request_id": grant_key(provider, effect.invoice_id),
                    "priority": SPENDING_PRIORITY[GrantKind.PLAN],
                    "amount": effect.credits,
                    "replaces": [grant_key(provider, each) for each in effect.replaces],
                    "keeps_spending": effect.keeps_spending,
                    "is_superseded": effect.is_superseded,
                }
                outcome = GrantOutcome((await session.execute(_GRANT_PLAN, parameters)).scalar_one())
                _assert_same_terms(outcome, effect.invoice_id)
            case GrantPack():
                terms = GrantTerms(
                    account_id=account_id,
                    request_id=grant_key(provider, effect.invoice_id),
                    kind=GrantKind.PURCHASED,
                    amount=effect.credits,
                    expire_time=None,
                )
                outcome, _ = await queries.grant_credits(session, terms)
                _assert_same_terms(outcome, effect.invoice_id)
            case Revoke():
                key = grant_key(provider, effect.invoice_id)
                await session.execute(
                    _REVOKE_GRANT, {"account_id": account_id, "request_id": key, "target": effect.credits}
                )
            case EndGrants():
                keys = [grant_key(provider, each) for each in effect.invoice_ids]
                await session.execute(_END_GRANTS, {"account_id": account_id, "request_ids": keys})


def grant_key(provider: str, invoice_id: str) -> str:
    """Returns the request id under which the ledger grants what an invoice brings."""
    return f"{provider}:{invoice_id}"


async def subscription(session: AsyncSession, provider: str, subscription_id: str) -> models.Subscription | None:
    """Returns what is known of a subscription."""
    query = select(models.Subscription).where(
        models.Subscription.provider == provider, models.Subscription.subscription_id == subscription_id
    )
    return (await session.execute(query)).scalar_one_or_none()


async def account_of_invoice(session: AsyncSession, provider: str, invoice_id: str) -> UUID | None:
    """Returns whose invoice it is, if that is known."""
    query = select(models.Invoice.account_id).where(
        models.Invoice.provider == provider, models.Invoice.invoice_id == invoice_id
    )
    return (await session.execute(query)).scalar_one_or_none()


async def checkout(session: AsyncSession, provider: str, reference: str) -> models.Checkout | None:
    """Returns the checkout that a provider's report names."""
    query = select(models.Checkout).where(models.Checkout.provider == provider, models.Checkout.reference == reference)
    return (await session.execute(query)).scalar_one_or_none()


async def checkout_of_request(session: AsyncSession, account_id: UUID, request_id: str) -> models.Checkout | None:
    """Returns the checkout that an earlier request with the same id opened."""
    query = select(models.Checkout).where(
        models.Checkout.account_id == account_id, models.Checkout.request_id == request_id
    )
    return (await session.execute(query)).scalar_one_or_none()


async def references(session: AsyncSession, account_id: UUID) -> set[str]:
    """Returns the references of all checkouts that an account has opened."""
    query = select(models.Checkout.reference).where(models.Checkout.account_id == account_id)
    return set((await session.scalars(query)).all())


async def add_checkout(session: AsyncSession, values: dict[str, Any]) -> bool:
    """Adds a checkout; returns whether it did, rather than find one of the same request."""
    row = insert(models.Checkout).values(**values).on_conflict_do_nothing().returning(models.Checkout.reference)
    return (await session.execute(row)).first() is not None


async def set_next_plan(session: AsyncSession, provider: str, subscription_id: str, plan_id: str | None) -> None:
    """Notes the plan that follows at the next renewal; None for the present one. The caller has locked the account."""
    await session.execute(
        update(models.Subscription)
        .where(models.Subscription.provider == provider, models.Subscription.subscription_id == subscription_id)
        .values(next_plan_id=plan_id)
    )


async def due_moves(
    session: AsyncSession, providers: Sequence[str], before: datetime, *, limit: int
) -> list[models.Subscription]:
    """Returns subscriptions that are renewed before a moment and have a plan to move to."""
    query = (
        select(models.Subscription)
        .where(
            models.Subscription.provider.in_(providers),
            models.Subscription.next_plan_id.is_not(None),
            models.Subscription.renew_time < before,
            models.Subscription.status == Status.ACTIVE.value,
        )
        .order_by(models.Subscription.renew_time)
        .limit(limit)
    )
    return list((await session.scalars(query)).all())


async def invoices(
    session: AsyncSession, account_id: UUID, *, before: tuple[datetime, str] | None, limit: int
) -> list[models.Invoice]:
    """Returns an account's invoices, newest first; `before` is the time and the key of the last one seen."""
    key = models.Invoice.provider + ":" + models.Invoice.invoice_id
    query = select(models.Invoice).where(models.Invoice.account_id == account_id)
    if before is not None:
        query = query.where(tuple_(models.Invoice.issue_time, key) < tuple_(*before))
    query = query.order_by(models.Invoice.issue_time.desc(), key.desc()).limit(limit)
    return list((await session.scalars(query)).all())


def _columns(row: models.Subscription | models.Invoice, kind: type) -> dict[str, Any]:
    return {each.name: getattr(row, each.name) for each in fields(kind)}


async def _put(
    session: AsyncSession,
    model: type[models.Subscription] | type[models.Invoice],
    key: str,
    owner: dict[str, Any],
    value: billing.Subscription | billing.Invoice,
) -> None:
    values = {each.name: getattr(value, each.name) for each in fields(value)}
    row = insert(model).values(**owner, **values)
    changes = {name: row.excluded[name] for name in values if name != key}
    await session.execute(row.on_conflict_do_update(index_elements=["provider", key], set_=changes))


def _assert_same_terms(outcome: GrantOutcome, invoice_id: str) -> None:
    """Raises for an invoice that was granted with other credits: what is known of it and the ledger disagree."""
    if outcome is GrantOutcome.CONFLICT:
        raise RuntimeError(f"the invoice {invoice_id} was granted with other credits before")
