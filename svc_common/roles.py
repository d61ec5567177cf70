"""The login roles of each service in PostgreSQL, and the row-level security that separates tenants; used by migrations.

Each service has two roles: `<database>_<area>_requests`, for which every table with an `account_id` shows the rows of
the transaction's account only, and `<database>_<area>_tasks`, which sees all rows for sweeps. Neither owns a table nor
may bypass the security.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from svc_common.registry import service_of

_ROLES_ATTRIBUTE: Final = "roles"


@dataclass(frozen=True, slots=True)
class Roles:
    """The names of one service's login roles."""

    requests: str
    tasks: str


def schema_of(area: str) -> str:
    """Returns the schema of a service's tables."""
    return service_of(area).schema


def roles_of(database: str, area: str) -> Roles:
    """Returns the login roles of a service; the database's name keeps two stacks on one server apart."""
    return Roles(requests=f"{database}_{area}_requests", tasks=f"{database}_{area}_tasks")


def migration_roles(op: Any) -> Roles:
    """Returns the roles to grant to, within a migration (`op` is alembic's)."""
    roles = op.get_context().config.attributes[_ROLES_ATTRIBUTE]
    if not isinstance(roles, Roles):
        raise TypeError("migrations run through svc_common.migrations only")
    return roles


def rls_statements(
    schema: str,
    table: str,
    requests_role: str,
    tasks_role: str,
    *,
    privileges: Sequence[str] = ("SELECT", "INSERT", "UPDATE", "DELETE"),
) -> list[str]:
    """Returns the statements that put a table with an `account_id` under row-level security and grant it to both roles.

    FORCE makes the security hold for the table's owner as well. The setting is read in a subselect, once a statement
    instead of once a row; where it was never set it is NULL or empty, which matches no row.
    """
    name = f'"{schema}"."{table}"'
    own_rows = "account_id = (SELECT NULLIF(current_setting('app.account_id', true), '')::uuid)"
    return [
        f"ALTER TABLE {name} ENABLE ROW LEVEL SECURITY",
        f"ALTER TABLE {name} FORCE ROW LEVEL SECURITY",
        f'CREATE POLICY own_account ON {name} FOR ALL TO "{requests_role}" USING ({own_rows}) WITH CHECK ({own_rows})',
        f'CREATE POLICY every_account ON {name} FOR ALL TO "{tasks_role}" USING (true) WITH CHECK (true)',
        *grant_statements(schema, table, requests_role, tasks_role, privileges=privileges),
    ]


def grant_statements(
    schema: str,
    table: str,
    requests_role: str,
    tasks_role: str,
    *,
    privileges: Sequence[str] = ("SELECT", "INSERT", "UPDATE", "DELETE"),
) -> list[str]:
    """Returns the statements that grant a table to both roles; alone for tables that hold no tenant's rows."""
    return [f'GRANT {", ".join(privileges)} ON "{schema}"."{table}" TO "{requests_role}", "{tasks_role}"']
