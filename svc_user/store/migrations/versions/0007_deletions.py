"""Lets accounts be closed and erased.

Revision ID: 0007
"""

from alembic import op

from svc_common.db import Roles, migration_roles

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Adds the column with its index, and lets tasks delete people without reading more of them."""
    op.execute("ALTER TABLE users.users ADD COLUMN erase_time timestamptz")
    op.execute("CREATE INDEX ix_users_erase_time ON users.users (erase_time) WHERE erase_time IS NOT NULL")
    for statement in _privileges(migration_roles(op)):
        op.execute(statement)


def downgrade() -> None:
    """Drops what `upgrade` adds."""
    op.execute("ALTER TABLE users.users DROP COLUMN erase_time")


def _privileges(roles: Roles) -> tuple[str, ...]:
    return (
        f"GRANT UPDATE (erase_time) ON users.users TO {roles.requests}",
        f"GRANT SELECT (erase_time), DELETE ON users.users TO {roles.tasks}",
        f"GRANT SELECT (account_id), DELETE ON users.identities TO {roles.tasks}",
        f"GRANT UPDATE (account_id) ON users.welcomes TO {roles.tasks}",
    )
