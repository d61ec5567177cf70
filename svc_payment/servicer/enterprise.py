"""EnterpriseService: takes requests for the plan that is sold by contract, and activates contracts."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID

import structlog
from pingvas.payment.v1 import enterprise_pb2, enterprise_service_pb2, enterprise_service_pb2_grpc

from svc_common.caller import current_account, current_caller, current_user
from svc_common.credits import format_credits, parse
from svc_common.db import Database, take_turn
from svc_common.errors import invalid_field
from svc_common.idempotency import idempotency_key, idempotency_key_reused
from svc_common.paging import PageTokens, moment_and_id, page_size
from svc_payment.domain.notices import Channel, NoticeKind
from svc_payment.messages import credits as messages
from svc_payment.messages import refusals
from svc_payment.messages.notices import lead_message
from svc_payment.store import enterprise, notices, queries
from svc_payment.store.models import EnterpriseContract, EnterpriseLead
from svc_payment.usecases.entitlement import entitlement

_log: Final = structlog.get_logger("payment")

_MOST_LEADS: Final = 3
_DAY: Final = timedelta(days=1)
_SCOPE: Final = "enterprise leads"
_AGREED: Final = (
    "account_id",
    "end_time",
    "credits",
    "storage_bytes",
    "running_jobs",
    "requests_per_second",
    "amount_cents",
    "currency",
)


class EnterpriseServicer(enterprise_service_pb2_grpc.EnterpriseServiceServicer):
    """Serves pingvas.payment.v1.EnterpriseService."""

    def __init__(
        self,
        *,
        database: Database,
        tasks_database: Database,
        announce_entitlement: Callable[[UUID], Awaitable[None]],
        page_tokens: PageTokens,
        new_id: Callable[[], UUID],
    ) -> None:
        """Takes the databases of both roles: contracts and the leads of others are for the tasks' role."""
        self._database = database
        self._tasks_database = tasks_database
        self._announce_entitlement = announce_entitlement
        self._page_tokens = page_tokens
        self._new_id = new_id

    async def RequestEnterprise(
        self, request: enterprise_service_pb2.RequestEnterpriseRequest, _context: object
    ) -> enterprise_pb2.EnterpriseLead:
        """Keeps a request, and notes it for the sales team."""
        account_id, key = current_account(), idempotency_key(request.request_id)
        written = (request.company, request.contact, request.message)
        async with self._database.transaction(account_id) as session:
            await take_turn(session, f"enterprise leads:{account_id}")
            if key and (made := await enterprise.lead_of_request(session, account_id, key)):
                if (made.company, made.contact, made.message) != written:
                    raise idempotency_key_reused(key)
                return lead_message(made)
            if await enterprise.count_leads(session, account_id, age=_DAY) >= _MOST_LEADS:
                raise refusals.too_many_leads(_MOST_LEADS)
            lead = EnterpriseLead(
                lead_id=self._new_id(),
                account_id=account_id,
                created_by=current_user(),
                request_id=key or None,
                company=request.company,
                contact=request.contact,
                message=request.message,
                create_time=await queries.ledger_now(session),
            )
            session.add(lead)
            await session.flush()
            await notices.add(
                session,
                notice_id=lead.lead_id,
                account_id=account_id,
                kind=NoticeKind.ENTERPRISE_LEAD,
                channel=Channel.SALES,
                subject=str(lead.lead_id),
                content={},
            )
        return lead_message(lead)

    async def ListEnterpriseLeads(
        self, request: enterprise_service_pb2.ListEnterpriseLeadsRequest, _context: object
    ) -> enterprise_service_pb2.ListEnterpriseLeadsResponse:
        """Lists the requests of all accounts, newest first."""
        size = page_size(request.page_size)
        before = moment_and_id(self._page_tokens.decode(request.page_token, _SCOPE)) if request.page_token else None
        async with self._tasks_database.transaction() as session:
            found = await enterprise.leads(session, before=before, limit=size + 1)
        page, token = self._page_tokens.cut(
            found, size, _SCOPE, lambda lead: (lead.create_time.isoformat(), str(lead.lead_id))
        )
        return enterprise_service_pb2.ListEnterpriseLeadsResponse(leads=map(lead_message, page), next_page_token=token)

    async def ActivateEnterprise(
        self, request: enterprise_service_pb2.ActivateEnterpriseRequest, _context: object
    ) -> enterprise_pb2.EnterpriseContract:
        """Activates a contract, then tells the caches."""
        account_id = UUID(request.account_id)
        async with self._tasks_database.transaction() as session:
            await take_turn(session, f"enterprise contract:{request.reference}")
            agreed = _agreed(request, await queries.ledger_now(session))
            known = await enterprise.contract(session, agreed.reference)
            if known is not None and any(getattr(known, name) != getattr(agreed, name) for name in _AGREED):
                raise refusals.contract_exists(agreed.reference)
            if known is None:
                if agreed.end_time <= agreed.start_time:
                    raise invalid_field("end_time", "must be in the future")
                await enterprise.activate(session, agreed)
                await notices.add(
                    session,
                    notice_id=self._new_id(),
                    account_id=account_id,
                    kind=NoticeKind.ENTERPRISE_ACTIVATED,
                    channel=Channel.AUDIT,
                    subject=agreed.reference,
                    content={"reference": agreed.reference, "actor": str(current_caller())},
                )
            held = await entitlement(session, account_id)
            message = _contract_message(known or agreed)
        await self._announce_entitlement(account_id)
        _log.info(
            "enterprise.activated", account_id=str(account_id), reference=agreed.reference, by=str(current_user())
        )
        message.limits.CopyFrom(messages.limits_message(held.limits))
        return message


def _agreed(request: enterprise_service_pb2.ActivateEnterpriseRequest, now: datetime) -> EnterpriseContract:
    amount = parse(request.credits, "credits")
    if amount <= 0:
        raise invalid_field("credits", "must be above zero")
    return EnterpriseContract(
        reference=request.reference,
        account_id=UUID(request.account_id),
        activated_by=current_user(),
        start_time=now,
        end_time=request.end_time.ToDatetime(tzinfo=UTC),
        credits=amount,
        storage_bytes=request.storage_bytes,
        running_jobs=request.running_jobs,
        requests_per_second=request.requests_per_second,
        amount_cents=request.amount_cents,
        currency=request.currency or "USD",
    )


def _contract_message(contract: EnterpriseContract) -> enterprise_pb2.EnterpriseContract:
    return enterprise_pb2.EnterpriseContract(
        reference=contract.reference,
        account_id=str(contract.account_id),
        start_time=messages.timestamp(contract.start_time),
        end_time=messages.timestamp(contract.end_time),
        credits=format_credits(contract.credits),
        amount_cents=contract.amount_cents,
        currency=contract.currency,
    )
