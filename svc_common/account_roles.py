"""What a person may do on the platform beyond their own account: the roles of accounts, not those of PostgreSQL."""

from enum import StrEnum
from typing import Final


class AccountRole(StrEnum):
    """The values of pingvas.common.v1.Role as tokens, tables and commands name them. Each includes those before it."""

    USER = "user"
    SUPPORT = "support"
    ADMINISTRATOR = "administrator"

    def includes(self, other: "AccountRole") -> bool:
        """Tells whether whoever has this role may do what the other one may."""
        return _RANKS[self] >= _RANKS[other]


_RANKS: Final = {role: rank for rank, role in enumerate(AccountRole)}
