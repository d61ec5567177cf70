"""What an account may do now: computed from what it has bought whenever somebody asks, so that no flag can be out of date."""

from uuid import UUID

from pingvas.vocabulary import Tier
from sqlalchemy.ext.asyncio import AsyncSession

from svc_payment.domain import standing as standing_rules
from svc_payment.domain.standing import Standing
from svc_payment.store import billing as store
from svc_payment.store import enterprise, queries
from svc_payment.store.billing import Entitlement


async def entitlement(session: AsyncSession, account_id: UUID) -> Entitlement:
    """Returns what an account may do.

    Of the tier that an operator gave it and that of its plan the higher one counts. An operator's tier is outside any
    payment: an account that has one at least as high as its plan's is never suspended. A contract of the enterprise plan
    comes before all of that, with limits of its own.
    """
    held = await store.holdings(session, account_id)
    tier, standing, deciding, provider = held.given_tier, Standing.GOOD, None, ""
    own_standing = Standing.GOOD
    if held.subscriptions:
        plans = (await store.catalogue(session)).plans
        owners = {store.subscription_of(row): row.provider for row in held.subscriptions}
        deciding = standing_rules.current(owners, plans, held.now)
        if deciding is not None:
            provider = owners[deciding]
            own_standing = standing_rules.standing(deciding, held.now)
            plan_tier = plans[deciding.plan_id or ""].tier
            if plan_tier > tier:
                tier, standing = plan_tier, own_standing
    contract = await enterprise.current_contract(session, account_id)
    if contract is not None:
        tier, standing = Tier.ENTERPRISE, Standing.GOOD
    limits = await queries.tier_limits(session, tier)
    if contract is not None:
        session.expunge(limits)
        agreed = {name: getattr(contract, name) for name in ("storage_bytes", "running_jobs", "requests_per_second")}
        for name, limit in agreed.items():
            setattr(limits, name, limit or getattr(limits, name))
    return Entitlement(tier, limits, standing, deciding, provider, own_standing)
