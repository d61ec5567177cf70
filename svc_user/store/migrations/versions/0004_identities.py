"""Creates the identities of users at providers, and lets users be without a password.

Revision ID: 0004
"""

from alembic import op

from svc_common.db import Roles, migration_roles, rls_statements

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_TABLE = """
CREATE TABLE users.identities (
    identity_id uuid NOT NULL,
    account_id uuid NOT NULL,
    user_id uuid NOT NULL,
    provider text NOT NULL,
    subject text NOT NULL,
    email text NOT NULL,
    create_time timestamptz NOT NULL,
    CONSTRAINT pk_identities PRIMARY KEY (identity_id),
    CONSTRAINT uq_identities_provider UNIQUE (provider, subject),
    CONSTRAINT ck_identities_is_known_provider CHECK (provider IN ('google', 'discord')),
    CONSTRAINT fk_identities_account_id_users FOREIGN KEY (account_id, user_id)
        REFERENCES users.users (account_id, user_id)
);
CREATE INDEX ix_identities_user ON users.identities (account_id, user_id);
ALTER TABLE users.users ALTER COLUMN password_hash DROP NOT NULL
"""

# The fifth way from what an anonymous call knows to an account, from an identity: whoever signs in at a provider has
# no account yet.
_DOOR = """
CREATE POLICY doors ON users.identities FOR SELECT TO CURRENT_USER USING (true);
CREATE FUNCTION users.account_by_identity(sought_provider text, sought_subject text) RETURNS uuid
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = ''
    AS 'SELECT account_id FROM users.identities WHERE provider = sought_provider AND subject = sought_subject';
REVOKE ALL ON FUNCTION users.account_by_identity(text, text) FROM PUBLIC
"""


def upgrade() -> None:
    """Creates the table, its policies, the function and the privileges."""
    roles = migration_roles(op)
    _run(_TABLE)
    for statement in rls_statements("users", "identities", roles.requests, roles.tasks):
        op.execute(statement)
    _run(_DOOR)
    _run(_privileges(roles))


def downgrade() -> None:
    """Drops everything that `upgrade` creates; refused by the database while a user has no password."""
    op.execute("ALTER TABLE users.users ALTER COLUMN password_hash SET NOT NULL")
    op.execute("DROP FUNCTION users.account_by_identity(text, text)")
    op.execute("DROP TABLE users.identities")


def _privileges(roles: Roles) -> str:
    return f"""
REVOKE ALL ON users.identities FROM {roles.requests}, {roles.tasks};
GRANT SELECT, INSERT, DELETE ON users.identities TO {roles.requests};
GRANT EXECUTE ON FUNCTION users.account_by_identity(text, text) TO {roles.requests}
"""


def _run(script: str) -> None:
    # One statement at a time: asyncpg's prepared statements hold no more. No body above contains a semicolon.
    for statement in script.split(";"):
        op.execute(statement)
