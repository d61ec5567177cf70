"""Requests for the enterprise plan, and contracts. Each function takes part in the caller's transaction."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import func, literal, select, tuple_
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from svc_payment.domain.billing import Reason
from svc_payment.domain.ledger import GrantKind, GrantTerms
from svc_payment.store import queries
from svc_payment.store.billing import grant_key
from svc_payment.store.models import EnterpriseContract, EnterpriseLead, Invoice

# Stands where an invoice of a payment provider has that provider.
_PROVIDER = "contract"
_ITEM = "enterprise"


async def lead_of_request(session: AsyncSession, account_id: UUID, request_id: str) -> EnterpriseLead | None:
    """Returns the lead that a request has made."""
    query = select(EnterpriseLead).where(
        EnterpriseLead.account_id == account_id, EnterpriseLead.request_id == request_id
    )
    return (await session.scalars(query)).one_or_none()


async def count_leads(session: AsyncSession, account_id: UUID, *, age: timedelta) -> int:
    """Returns how many leads an account has made in that time."""
    query = select(func.count()).where(
        EnterpriseLead.account_id == account_id, EnterpriseLead.create_time > func.payment.ledger_now() - age
    )
    return (await session.execute(query)).scalar_one()


async def leads(session: AsyncSession, *, before: tuple[datetime, UUID] | None, limit: int) -> Sequence[EnterpriseLead]:
    """Returns the leads of all accounts, newest first, from behind a place in that order."""
    query = select(EnterpriseLead).order_by(EnterpriseLead.create_time.desc(), EnterpriseLead.lead_id.desc())
    if before is not None:
        place = tuple_(literal(before[0]), literal(before[1]))
        query = query.where(tuple_(EnterpriseLead.create_time, EnterpriseLead.lead_id) < place)
    return (await session.scalars(query.limit(limit))).all()


async def current_contract(session: AsyncSession, account_id: UUID) -> EnterpriseContract | None:
    """Returns the contract that counts now: of those whose term runs the one that ends last."""
    now = func.payment.ledger_now()
    query = (
        select(EnterpriseContract)
        .where(
            EnterpriseContract.account_id == account_id,
            EnterpriseContract.start_time <= now,
            EnterpriseContract.end_time > now,
        )
        .order_by(EnterpriseContract.end_time.desc(), EnterpriseContract.reference)
        .limit(1)
    )
    return (await session.scalars(query)).one_or_none()


async def contract(session: AsyncSession, reference: str) -> EnterpriseContract | None:
    """Returns a contract."""
    return await session.get(EnterpriseContract, reference)


async def activate(session: AsyncSession, agreed: EnterpriseContract) -> None:
    """Adds a contract with its credits and its invoice."""
    session.add(agreed)
    await session.flush()
    terms = GrantTerms(
        account_id=agreed.account_id,
        request_id=grant_key(_PROVIDER, agreed.reference),
        kind=GrantKind.PLAN,
        amount=agreed.credits,
        expire_time=agreed.end_time,
    )
    await queries.grant_credits(session, terms)
    invoice = {
        "provider": _PROVIDER,
        "invoice_id": agreed.reference,
        "account_id": agreed.account_id,
        "subscription_id": None,
        "item_id": _ITEM,
        "reason": Reason.CONTRACT.value,
        "amount_cents": agreed.amount_cents,
        "currency": agreed.currency,
        "issue_time": agreed.start_time,
        "refunded_cents": 0,
        "credits": agreed.credits,
        "revoked_cents": 0,
    }
    await session.execute(insert(Invoice).values(invoice))
