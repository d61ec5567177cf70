"""Lets users change their addresses, and limits API keys.

Revision ID: 0006
"""

from alembic import op

from svc_common.db import Roles, migration_roles, rls_statements

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_TABLES = """
ALTER TABLE users.mails ADD COLUMN user_id uuid;
ALTER TABLE users.link_tokens ADD COLUMN email text;
CREATE TABLE users.former_emails (
    account_id uuid NOT NULL,
    email text NOT NULL,
    user_id uuid NOT NULL,
    expire_time timestamptz NOT NULL,
    CONSTRAINT pk_former_emails PRIMARY KEY (account_id, email),
    CONSTRAINT fk_former_emails_account_id_users FOREIGN KEY (account_id, user_id)
        REFERENCES users.users (account_id, user_id) ON DELETE CASCADE
);
ALTER TABLE users.api_keys
    ADD COLUMN day_millicredits bigint,
    ADD COLUMN month_millicredits bigint,
    ADD COLUMN model_ids text[] NOT NULL DEFAULT '{}',
    ADD COLUMN largest_side_px integer;
CREATE INDEX ix_former_emails_email ON users.former_emails (email);
CREATE INDEX ix_former_emails_expire_time ON users.former_emails (expire_time)
"""

# The sixth way from an address to an account, as those of 0001 to 0004: whether an address is free isn't seen by an
# account that doesn't have it.
_DOOR = """
CREATE POLICY doors ON users.former_emails FOR SELECT TO CURRENT_USER USING (true);
CREATE FUNCTION users.holder_of_email(sought_email text, at_time timestamptz) RETURNS uuid
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = ''
    AS 'SELECT account_id FROM users.users WHERE email = sought_email
        UNION ALL
        SELECT account_id FROM users.former_emails WHERE email = sought_email AND expire_time > at_time
        LIMIT 1';
REVOKE ALL ON FUNCTION users.holder_of_email(text, timestamptz) FROM PUBLIC
"""


def upgrade() -> None:
    """Creates the columns, the table, its policies, the function and the privileges."""
    roles = migration_roles(op)
    _run(_TABLES)
    for statement in rls_statements("users", "former_emails", roles.requests, roles.tasks):
        op.execute(statement)
    _run(_DOOR)
    _run(_privileges(roles))


def downgrade() -> None:
    """Drops everything that `upgrade` creates."""
    op.execute("DROP FUNCTION users.holder_of_email(text, timestamptz)")
    op.execute("DROP TABLE users.former_emails")
    op.execute(
        "ALTER TABLE users.api_keys DROP COLUMN day_millicredits, DROP COLUMN month_millicredits, "
        "DROP COLUMN model_ids, DROP COLUMN largest_side_px"
    )
    op.execute("ALTER TABLE users.mails DROP COLUMN user_id")
    op.execute("ALTER TABLE users.link_tokens DROP COLUMN email")


def _privileges(roles: Roles) -> str:
    return f"""
REVOKE ALL ON users.former_emails FROM {roles.requests}, {roles.tasks};
GRANT UPDATE (email) ON users.users TO {roles.requests};
GRANT UPDATE (name, day_millicredits, month_millicredits, model_ids, largest_side_px) ON users.api_keys
    TO {roles.requests};
GRANT SELECT, INSERT, UPDATE (expire_time), DELETE ON users.former_emails TO {roles.requests};
GRANT SELECT, DELETE ON users.former_emails TO {roles.tasks};
GRANT EXECUTE ON FUNCTION users.holder_of_email(text, timestamptz) TO {roles.requests}
"""


def _run(script: str) -> None:
    # One statement at a time: asyncpg's prepared statements hold no more. No body above contains a semicolon.
    for statement in script.split(";"):
        op.execute(statement)
