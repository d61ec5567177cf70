"""Owns the rules of administering accounts: who remains an administrator, and what a search looks for."""

from dataclasses import dataclass
from uuid import UUID

from svc_common.account_roles import AccountRole
from svc_common.errors import Reason, ServiceError


@dataclass(frozen=True, slots=True)
class Sought:
    """What a search for users looks for; None and "" stand for anything."""

    prefix: str = ""
    """The beginning of an address or name, in lower case."""
    user_id: UUID | None = None
    role: AccountRole | None = None


def sought(query: str, role: AccountRole | None) -> Sought:
    """Returns what a person typed as what to look for: a whole id, or the beginning of an address or a name."""
    text = query.strip()
    try:
        return Sought(user_id=UUID(text), role=role)
    except ValueError:
        return Sought(prefix=text.lower(), role=role)


def check_administrator_remains(*, was: AccountRole, others_count: int) -> None:
    """Raises LAST_ADMINISTRATOR when somebody ceases to be an administrator and no other one is left who can log in."""
    if was is AccountRole.ADMINISTRATOR and others_count == 0:
        raise ServiceError(
            Reason.LAST_ADMINISTRATOR,
            "This is the last administrator; nobody could administer the platform any more. Make another first.",
        )
