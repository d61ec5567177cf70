"""Creates the copies of everything that accounts ask for.

Revision ID: 0010
"""

from alembic import op

from svc_common.db import Roles, migration_roles, rls_statements

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

_TABLE = """
CREATE TABLE users.account_exports (
    export_id uuid NOT NULL,
    account_id uuid NOT NULL,
    user_id uuid NOT NULL,
    state text NOT NULL,
    attempt integer NOT NULL,
    lease_until timestamptz,
    image_count integer NOT NULL,
    left_out_count integer NOT NULL,
    size_bytes bigint NOT NULL,
    create_time timestamptz NOT NULL,
    ready_time timestamptz,
    expire_time timestamptz,
    CONSTRAINT pk_account_exports PRIMARY KEY (export_id),
    CONSTRAINT ck_account_exports_state_is_known CHECK (state IN ('pending', 'ready', 'failed', 'expired')),
    CONSTRAINT fk_account_exports_account_id_users FOREIGN KEY (account_id, user_id)
        REFERENCES users.users (account_id, user_id) ON DELETE CASCADE
);
CREATE INDEX ix_account_exports_account ON users.account_exports (account_id, create_time);
CREATE UNIQUE INDEX ix_account_exports_pending ON users.account_exports (account_id) WHERE state = 'pending';
CREATE INDEX ix_account_exports_expire_time ON users.account_exports (expire_time)
"""


def upgrade() -> None:
    """Creates the table, its policies and the privileges."""
    roles = migration_roles(op)
    _run(_TABLE)
    for statement in rls_statements("users", "account_exports", roles.requests, roles.tasks):
        op.execute(statement)
    _run(_privileges(roles))


def downgrade() -> None:
    """Drops everything that `upgrade` creates."""
    op.execute("DROP TABLE users.account_exports")


def _privileges(roles: Roles) -> str:
    return f"""
REVOKE ALL ON users.account_exports FROM {roles.requests}, {roles.tasks};
GRANT SELECT, INSERT, UPDATE (expire_time) ON users.account_exports TO {roles.requests};
GRANT SELECT, UPDATE, DELETE ON users.account_exports TO {roles.tasks}
"""


def _run(script: str) -> None:
    # One statement at a time: asyncpg's prepared statements hold no more. No body above contains a semicolon.
    for statement in script.split(";"):
        op.execute(statement)
