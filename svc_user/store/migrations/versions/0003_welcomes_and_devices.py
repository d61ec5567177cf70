"""Adds who got the free tier's credits, from where sessions are used, and API keys.

Revision ID: 0003
"""

from alembic import op

from svc_common.db import Roles, migration_roles, rls_statements

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

# No key to the user: a person who deletes their account and registers again is the same person.
_TABLES = """
CREATE TABLE users.welcomes (
    person_hash bytea NOT NULL,
    account_id uuid NOT NULL,
    create_time timestamptz NOT NULL,
    grant_time timestamptz,
    CONSTRAINT pk_welcomes PRIMARY KEY (person_hash),
    CONSTRAINT ck_welcomes_is_sha256 CHECK (length(person_hash) = 32)
);
CREATE INDEX ix_welcomes_due ON users.welcomes (create_time) WHERE grant_time IS NULL;
ALTER TABLE users.sessions
    ADD COLUMN user_agent text NOT NULL DEFAULT '',
    ADD COLUMN network text NOT NULL DEFAULT '';
CREATE INDEX ix_sessions_user ON users.sessions (account_id, user_id);
CREATE TABLE users.api_keys (
    api_key_id text NOT NULL,
    account_id uuid NOT NULL,
    user_id uuid NOT NULL,
    request_id text NOT NULL,
    name text NOT NULL,
    scopes integer[] NOT NULL,
    key_hash bytea NOT NULL,
    create_time timestamptz NOT NULL,
    expire_time timestamptz,
    last_use_time timestamptz,
    CONSTRAINT pk_api_keys PRIMARY KEY (api_key_id),
    CONSTRAINT uq_api_keys_account_id UNIQUE (account_id, request_id),
    CONSTRAINT ck_api_keys_is_sha256 CHECK (length(key_hash) = 32),
    CONSTRAINT fk_api_keys_account_id_users FOREIGN KEY (account_id, user_id)
        REFERENCES users.users (account_id, user_id) ON DELETE CASCADE
);
CREATE INDEX ix_api_keys_user ON users.api_keys (account_id, user_id, create_time)
"""

# The fourth way from what an anonymous call knows to an account, like those of 0001 and 0002.
_DOOR = """
CREATE POLICY doors ON users.api_keys FOR SELECT TO CURRENT_USER USING (true);
CREATE FUNCTION users.account_by_api_key(sought_id text) RETURNS uuid
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = ''
    AS 'SELECT account_id FROM users.api_keys WHERE api_key_id = sought_id';
REVOKE ALL ON FUNCTION users.account_by_api_key(text) FROM PUBLIC
"""


def upgrade() -> None:
    """Creates the tables, the columns, the policies, the function and the privileges."""
    roles = migration_roles(op)
    _run(_TABLES)
    for table in ("welcomes", "api_keys"):
        for statement in rls_statements("users", table, roles.requests, roles.tasks):
            op.execute(statement)
    _run(_DOOR)
    _run(_privileges(roles))


def downgrade() -> None:
    """Drops everything that `upgrade` creates."""
    op.execute("DROP FUNCTION users.account_by_api_key(text)")
    op.execute("DROP TABLE users.api_keys, users.welcomes")
    op.execute("DROP INDEX users.ix_sessions_user")
    op.execute("ALTER TABLE users.sessions DROP COLUMN user_agent, DROP COLUMN network")


def _privileges(roles: Roles) -> str:
    """Returns the grants: a person is entered once and for good."""
    return f"""
REVOKE ALL ON users.welcomes, users.api_keys FROM {roles.requests}, {roles.tasks};
GRANT SELECT, INSERT ON users.welcomes TO {roles.requests};
GRANT SELECT, UPDATE (grant_time) ON users.welcomes TO {roles.tasks};
GRANT UPDATE (user_agent, network) ON users.sessions TO {roles.requests};
GRANT SELECT, INSERT, UPDATE (last_use_time), DELETE ON users.api_keys TO {roles.requests};
GRANT EXECUTE ON FUNCTION users.account_by_api_key(text) TO {roles.requests}
"""


def _run(script: str) -> None:
    # One statement at a time: asyncpg's prepared statements hold no more. No body above contains a semicolon.
    for statement in script.split(";"):
        op.execute(statement)
