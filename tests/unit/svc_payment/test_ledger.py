"""The rules of credits that need no database, and their names in messages."""

from datetime import timedelta
from uuid import UUID

import pytest
from google.protobuf.internal.enum_type_wrapper import EnumTypeWrapper
from pingvas.payment.v1 import credit_service_pb2, ledger_service_pb2

from svc_common.errors import Reason, ServiceError
from svc_payment.domain.ledger import (
    LONGEST_HOLD,
    SPENDING_PRIORITY,
    GrantKind,
    Hold,
    HoldState,
    HoldTerms,
    TransactionKind,
)
from svc_payment.messages import credits as messages
from svc_payment.messages import refusals
from tests.factories.ledger import HOUR

ACCOUNT, HOLD = UUID(int=1), UUID(int=2)


def test_priority_spends_promotional_then_plan_then_purchased() -> None:
    assert sorted(GrantKind, key=SPENDING_PRIORITY.__getitem__) == [
        GrantKind.PROMOTIONAL,
        GrantKind.PLAN,
        GrantKind.PURCHASED,
    ]


@pytest.mark.parametrize(
    ("field", "requested", "minimum", "lifetime"),
    [
        ("minimum_millicredits", 10, 11, HOUR),
        ("lifetime", 10, 10, LONGEST_HOLD + timedelta(microseconds=1)),
    ],
)
def test_hold_terms_refuse_what_no_balance_could_meet(
    field: str, requested: int, minimum: int, lifetime: timedelta
) -> None:
    with pytest.raises(ServiceError) as refused:
        HoldTerms(ACCOUNT, HOLD, requested, minimum, lifetime)

    assert refused.value.reason is Reason.INVALID_FIELD
    assert [violation.field for violation in refused.value.violations] == [field]


def test_hold_terms_accept_the_limits_themselves() -> None:
    assert HoldTerms(ACCOUNT, HOLD, 10, 10, LONGEST_HOLD).minimum == 10


@pytest.mark.parametrize(
    ("values", "table", "contract", "prefix"),
    [
        (GrantKind, messages.GRANT_KINDS, credit_service_pb2.GrantKind, "GRANT_KIND_"),
        (HoldState, messages.HOLD_STATES, ledger_service_pb2.HoldState, "HOLD_STATE_"),
        (TransactionKind, messages.TRANSACTION_KINDS, credit_service_pb2.TransactionKind, "TRANSACTION_KIND_"),
    ],
)
def test_every_value_has_the_message_of_the_same_name_for(
    values: type, table: dict[object, int], contract: EnumTypeWrapper, prefix: str
) -> None:
    named = {prefix + value.name: table[value] for value in values}  # type: ignore[attr-defined]
    assert named | {f"{prefix}UNSPECIFIED": 0} == dict(contract.items())


def test_refusal_of_a_price_tells_balance_and_price_in_credits() -> None:
    error = refusals.insufficient_credits(balance=1250, price=2000)

    assert error.reason is Reason.INSUFFICIENT_CREDITS
    assert error.metadata == {"balance": "1.250", "price": "2.000"}


def test_refusal_of_a_closed_hold_tells_how_it_was_closed() -> None:
    hold = Hold(ACCOUNT, HOLD, HoldState.RELEASED, 1000, 0, None)  # type: ignore[arg-type]

    known = {"hold_id": str(HOLD), "state": "released", "settled_millicredits": "0"}
    assert refusals.hold_closed(hold).metadata == known
