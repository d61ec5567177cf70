"""The names of scopes and roles as access tokens hold them: `read` for SCOPE_READ, `support` for ROLE_SUPPORT."""

from collections.abc import Iterable
from typing import Final

from pingvas.common.v1 import role_pb2, scope_pb2

from svc_common.account_roles import AccountRole

RECOVER: Final = "recover"
"""The only scope of tokens whose account is closed."""

_PREFIX: Final = "SCOPE_"


def scope_name(number: int) -> str:
    """Returns the name of a scope; empty for SCOPE_UNSPECIFIED."""
    return scope_pb2.Scope.Name(number).removeprefix(_PREFIX).lower() if number else ""  # type: ignore[arg-type]


def scope_names(numbers: Iterable[int]) -> frozenset[str]:
    """Returns the names of scopes."""
    return frozenset(map(scope_name, numbers))


def role_named(number: int) -> AccountRole:
    """Returns the role that a message names; ROLE_UNSPECIFIED stands for that of everybody."""
    if not number:
        return AccountRole.USER
    return AccountRole(role_pb2.Role.Name(number).removeprefix("ROLE_").lower())  # type: ignore[arg-type]


def role_value(role: AccountRole) -> role_pb2.Role.ValueType:
    """Returns the contract's value for a role."""
    return role_pb2.Role.Value(f"ROLE_{role.upper()}")
