"""What payment refuses, and in which words."""

from uuid import UUID

from svc_common.credits import format_credits
from svc_common.errors import Reason, ServiceError
from svc_payment.domain.ledger import Hold


def grant_conflict(request_id: str) -> ServiceError:
    """Returns the refusal of a request id that was used with other terms."""
    return ServiceError(
        Reason.GRANT_CONFLICT,
        "This request id has granted other credits before. Repeat its first terms exactly, or use a new id.",
        metadata={"request_id": request_id},
    )


def hold_conflict(hold_id: UUID) -> ServiceError:
    """Returns the refusal of a hold id that was used with other terms."""
    return ServiceError(
        Reason.HOLD_CONFLICT,
        "This hold id was used with other terms before. Repeat its first terms exactly, or use a new id.",
        metadata={"hold_id": str(hold_id)},
    )


def hold_not_found(hold_id: UUID) -> ServiceError:
    """Returns the refusal to close a hold that the account doesn't have."""
    return ServiceError(
        Reason.HOLD_NOT_FOUND, "This account has no such hold. Check both ids.", metadata={"hold_id": str(hold_id)}
    )


def hold_closed(hold: Hold) -> ServiceError:
    """Returns the refusal to close a hold in a second way."""
    spent = f" for {format_credits(hold.settled)} credits" if hold.settled else ""
    return ServiceError(
        Reason.HOLD_CLOSED,
        f"The hold was {hold.state}{spent} before, and that stands.",
        metadata={
            "hold_id": str(hold.hold_id),
            "state": hold.state,
            "settled_millicredits": str(hold.settled),
        },
    )


def contract_exists(reference: str) -> ServiceError:
    """Returns the refusal of a contract whose reference is in use with other terms."""
    return ServiceError(
        Reason.ENTERPRISE_CONTRACT_EXISTS,
        "This reference names a contract with other terms. Repeat its first terms exactly, or use a new reference.",
        metadata={"reference": reference},
    )


def too_many_leads(limit: int) -> ServiceError:
    """Returns the refusal of one more request for the enterprise plan within a day."""
    return ServiceError(
        Reason.TOO_MANY_LEADS,
        f"You have asked {limit} times today, and every request was received. Our sales team answers by mail.",
        metadata={"limit": str(limit)},
    )


def insufficient_credits(*, balance: int, price: int) -> ServiceError:
    """Returns the refusal of a price that the balance doesn't cover; both in millicredits."""
    shown_balance, shown_price = format_credits(balance), format_credits(price)
    return ServiceError(
        Reason.INSUFFICIENT_CREDITS,
        f"This costs {shown_price} credits and the balance is {shown_balance}. Buy credits, or ask for less.",
        metadata={"balance": shown_balance, "price": shown_price},
    )
