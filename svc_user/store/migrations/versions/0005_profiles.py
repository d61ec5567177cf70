"""Creates the pictures that stand for users.

Revision ID: 0005
"""

from alembic import op

from svc_common.db import Roles, migration_roles, rls_statements

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_TABLE = """
CREATE TABLE users.avatars (
    user_id uuid NOT NULL,
    account_id uuid NOT NULL,
    content bytea NOT NULL,
    CONSTRAINT pk_avatars PRIMARY KEY (user_id),
    CONSTRAINT ck_avatars_is_small CHECK (length(content) BETWEEN 1 AND 32768),
    CONSTRAINT fk_avatars_account_id_users FOREIGN KEY (account_id, user_id)
        REFERENCES users.users (account_id, user_id) ON DELETE CASCADE
)
"""


def upgrade() -> None:
    """Creates the table, its policies and the privileges."""
    roles = migration_roles(op)
    op.execute(_TABLE)
    for statement in rls_statements("users", "avatars", roles.requests, roles.tasks):
        op.execute(statement)
    _run(_privileges(roles))


def downgrade() -> None:
    """Drops everything that `upgrade` creates."""
    op.execute("DROP TABLE users.avatars")


def _privileges(roles: Roles) -> str:
    return f"""
REVOKE ALL ON users.avatars FROM {roles.requests}, {roles.tasks};
GRANT SELECT, INSERT, UPDATE (content), DELETE ON users.avatars TO {roles.requests}
"""


def _run(script: str) -> None:
    # One statement at a time: asyncpg's prepared statements hold no more. No body above contains a semicolon.
    for statement in script.split(";"):
        op.execute(statement)
