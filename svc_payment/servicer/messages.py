"""Converts between payment's messages and its values, one function a message."""

from collections.abc import Mapping
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Final
from uuid import UUID

from google.protobuf.timestamp_pb2 import Timestamp
from pingvas.common.v1 import tier_pb2
from pingvas.payment.v1 import credit_service_pb2, entitlement_pb2, ledger_service_pb2

from svc_common.credits import format_credits
from svc_payment.domain import Breach, GrantKind, GrantTerms, Hold, HoldState, HoldTerms, Tier, TransactionKind
from svc_payment.store import models

GRANT_KINDS: Final[Mapping[GrantKind, credit_service_pb2.GrantKind.ValueType]] = MappingProxyType(
    {
        GrantKind.PROMOTIONAL: credit_service_pb2.GRANT_KIND_PROMOTIONAL,
        GrantKind.PLAN: credit_service_pb2.GRANT_KIND_PLAN,
        GrantKind.PURCHASED: credit_service_pb2.GRANT_KIND_PURCHASED,
    }
)
HOLD_STATES: Final[Mapping[HoldState, ledger_service_pb2.HoldState.ValueType]] = MappingProxyType(
    {
        HoldState.HELD: ledger_service_pb2.HOLD_STATE_HELD,
        HoldState.SETTLED: ledger_service_pb2.HOLD_STATE_SETTLED,
        HoldState.RELEASED: ledger_service_pb2.HOLD_STATE_RELEASED,
    }
)
TRANSACTION_KINDS: Final[Mapping[TransactionKind, credit_service_pb2.TransactionKind.ValueType]] = MappingProxyType(
    {
        TransactionKind.GRANT: credit_service_pb2.TRANSACTION_KIND_GRANT,
        TransactionKind.RESERVE: credit_service_pb2.TRANSACTION_KIND_RESERVE,
        TransactionKind.SETTLE: credit_service_pb2.TRANSACTION_KIND_SETTLE,
        TransactionKind.RELEASE: credit_service_pb2.TRANSACTION_KIND_RELEASE,
        TransactionKind.EXPIRE: credit_service_pb2.TRANSACTION_KIND_EXPIRE,
    }
)
TIERS: Final[Mapping[Tier, tier_pb2.Tier.ValueType]] = MappingProxyType(
    {
        Tier.FREE: tier_pb2.TIER_FREE,
        Tier.STARTER: tier_pb2.TIER_STARTER,
        Tier.PRO: tier_pb2.TIER_PRO,
        Tier.STUDIO: tier_pb2.TIER_STUDIO,
        Tier.ENTERPRISE: tier_pb2.TIER_ENTERPRISE,
    }
)
_GRANT_KINDS_BY_MESSAGE: Final = {message: kind for kind, message in GRANT_KINDS.items()}
_TIERS_BY_MESSAGE: Final = {message: tier for tier, message in TIERS.items()}


def tier_from_message(message: tier_pb2.Tier.ValueType) -> Tier:
    """Returns the tier that a validated message names."""
    return _TIERS_BY_MESSAGE[message]


def grant_terms(request: ledger_service_pb2.GrantCreditsRequest) -> GrantTerms:
    """Returns the terms of a request to grant credits."""
    return GrantTerms(
        account_id=UUID(request.account_id),
        request_id=request.request_id,
        kind=_GRANT_KINDS_BY_MESSAGE[request.kind],
        amount=request.amount_millicredits,
        expire_time=request.expire_time.ToDatetime(tzinfo=UTC) if request.HasField("expire_time") else None,
    )


def hold_terms(request: ledger_service_pb2.ReserveCreditsRequest) -> HoldTerms:
    """Returns the terms of a request to reserve credits. Raises INVALID_FIELD."""
    return HoldTerms(
        account_id=UUID(request.account_id),
        hold_id=UUID(request.hold_id),
        requested=request.amount_millicredits,
        minimum=request.minimum_millicredits,
        lifetime=request.lifetime.ToTimedelta(),
    )


def grant_message(grant: models.Grant) -> credit_service_pb2.Grant:
    """Returns the message of a grant."""
    return credit_service_pb2.Grant(
        grant_id=str(grant.grant_id),
        kind=GRANT_KINDS[GrantKind(grant.kind)],
        amount=format_credits(grant.amount),
        remaining=format_credits(grant.remaining),
        expire_time=_timestamp(grant.expire_time) if grant.expire_time else None,
        create_time=_timestamp(grant.create_time),
    )


def hold_message(hold: Hold) -> ledger_service_pb2.Hold:
    """Returns the message of a hold."""
    return ledger_service_pb2.Hold(
        hold_id=str(hold.hold_id),
        account_id=str(hold.account_id),
        state=HOLD_STATES[hold.state],
        amount_millicredits=hold.amount,
        settled_millicredits=hold.settled,
        expire_time=_timestamp(hold.expire_time),
    )


def transaction_message(transaction: models.Transaction) -> credit_service_pb2.Transaction:
    """Returns the message of a transaction; a hold's id is its job's."""
    return credit_service_pb2.Transaction(
        transaction_id=str(transaction.transaction_id),
        kind=TRANSACTION_KINDS[TransactionKind(transaction.kind)],
        amount=format_credits(transaction.amount),
        spent=format_credits(transaction.spent),
        job_id=str(transaction.hold_id) if transaction.hold_id else "",
        create_time=_timestamp(transaction.create_time),
    )


def entitlement_message(account_id: UUID, limits: models.TierLimits) -> entitlement_pb2.Entitlement:
    """Returns the message of what an account may do."""
    return entitlement_pb2.Entitlement(
        account_id=str(account_id),
        tier=TIERS[Tier(limits.tier)],
        limits=entitlement_pb2.TierLimits(
            running_jobs=limits.running_jobs,
            waiting_jobs=limits.waiting_jobs,
            model_families=limits.model_families,
            largest_side_px=limits.largest_side_px,
            images_per_job=limits.images_per_job,
            step_count=limits.step_count,
            storage_bytes=limits.storage_bytes,
            requests_per_second=limits.requests_per_second,
            request_burst=limits.request_burst,
        ),
    )


def breach_message(breach: Breach) -> ledger_service_pb2.LedgerBreach:
    """Returns the message of a breach."""
    return ledger_service_pb2.LedgerBreach(invariant=breach.invariant, reference=breach.reference)


def _timestamp(moment: datetime) -> Timestamp:
    message = Timestamp()
    message.FromDatetime(moment)
    return message
