"""Converts between payment's messages and its values, one function a message."""

from collections.abc import Mapping
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Final
from uuid import UUID

from google.protobuf.timestamp_pb2 import Timestamp
from pingvas.common.v1 import tier_pb2
from pingvas.payment.v1 import credit_service_pb2, entitlement_pb2, ledger_service_pb2
from pingvas.vocabulary import Tier

from svc_common.credits import format_credits
from svc_payment.domain.ledger import Breach, GrantKind, GrantTerms, Hold, HoldState, HoldTerms, TransactionKind
from svc_payment.domain.notices import NoticeChoice
from svc_payment.domain.standing import Standing
from svc_payment.domain.statement import Movement, MovementFilter
from svc_payment.store import models
from svc_payment.store.billing import Entitlement

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
        TransactionKind.REVOKE: credit_service_pb2.TRANSACTION_KIND_REVOKE,
    }
)
STANDINGS: Final[Mapping[Standing, entitlement_pb2.Standing.ValueType]] = MappingProxyType(
    {
        Standing.GOOD: entitlement_pb2.STANDING_GOOD,
        Standing.GRACE: entitlement_pb2.STANDING_GRACE,
        Standing.SUSPENDED: entitlement_pb2.STANDING_SUSPENDED,
    }
)
_TRANSACTION_KINDS_BY_MESSAGE: Final = {message: kind for kind, message in TRANSACTION_KINDS.items()}
_GRANT_KINDS_BY_MESSAGE: Final = {message: kind for kind, message in GRANT_KINDS.items()}


def tier_message(tier: Tier) -> tier_pb2.Tier.ValueType:
    """Returns a tier as messages have it: the numbers are the same."""
    return tier_pb2.Tier.ValueType(tier)


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
        expire_time=timestamp(grant.expire_time) if grant.expire_time else None,
        create_time=timestamp(grant.create_time),
    )


def hold_message(hold: Hold) -> ledger_service_pb2.Hold:
    """Returns the message of a hold."""
    return ledger_service_pb2.Hold(
        hold_id=str(hold.hold_id),
        account_id=str(hold.account_id),
        state=HOLD_STATES[hold.state],
        amount_millicredits=hold.amount,
        settled_millicredits=hold.settled,
        expire_time=timestamp(hold.expire_time),
    )


def movement_filter(message: credit_service_pb2.TransactionFilter) -> MovementFilter:
    """Returns the value of a filter."""
    return MovementFilter(
        kinds=tuple(dict.fromkeys(_TRANSACTION_KINDS_BY_MESSAGE[kind] for kind in message.kinds)),
        hold_id=UUID(message.job_id) if message.job_id else None,
        start_time=message.start_time.ToDatetime(tzinfo=UTC) if message.HasField("start_time") else None,
        end_time=message.end_time.ToDatetime(tzinfo=UTC) if message.HasField("end_time") else None,
    )


def transaction_message(movement: Movement) -> credit_service_pb2.Transaction:
    """Returns the message of a movement; a hold's id is its job's."""
    return credit_service_pb2.Transaction(
        transaction_id=str(movement.transaction_id),
        kind=TRANSACTION_KINDS[movement.kind],
        amount=format_credits(movement.amount),
        spent=format_credits(movement.spent),
        job_id=str(movement.hold_id) if movement.hold_id else "",
        create_time=timestamp(movement.create_time),
        held=format_credits(movement.held),
        lapsed=format_credits(movement.lapsed),
        revoked=format_credits(movement.revoked),
        grant_kind=(
            GRANT_KINDS[movement.grant_kind] if movement.grant_kind else credit_service_pb2.GRANT_KIND_UNSPECIFIED
        ),
        description=movement.description,
    )


def entitlement_message(account_id: UUID, held: Entitlement) -> entitlement_pb2.Entitlement:
    """Returns the message of what an account may do."""
    return entitlement_pb2.Entitlement(
        account_id=str(account_id),
        tier=tier_message(held.tier),
        limits=limits_message(held.limits),
        standing=STANDINGS[held.standing],
    )


def limits_message(limits: models.TierLimits) -> entitlement_pb2.TierLimits:
    """Returns the message of a tier's limits."""
    return entitlement_pb2.TierLimits(
        running_jobs=limits.running_jobs,
        waiting_jobs=limits.waiting_jobs,
        model_families=limits.model_families,
        largest_side_px=limits.largest_side_px,
        images_per_job=limits.images_per_job,
        step_count=limits.step_count,
        storage_bytes=limits.storage_bytes,
        requests_per_second=limits.requests_per_second,
        request_burst=limits.request_burst,
        own_loras=limits.own_loras,
    )


def notices_message(chosen: NoticeChoice) -> credit_service_pb2.CreditNotices:
    """Returns the message of what an account is notified of."""
    return credit_service_pb2.CreditNotices(
        low_balance=format_credits(chosen.low_balance) if chosen.low_balance else "",
        mails_statements=chosen.mails_statements,
    )


def breach_message(breach: Breach) -> ledger_service_pb2.LedgerBreach:
    """Returns the message of a breach."""
    return ledger_service_pb2.LedgerBreach(invariant=breach.invariant, reference=breach.reference)


def timestamp(moment: datetime) -> Timestamp:
    """Returns the message of a moment."""
    message = Timestamp()
    message.FromDatetime(moment)
    return message
