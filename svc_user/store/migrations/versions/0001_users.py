"""Creates users, sessions and refresh tokens, with what each role may do to them.

Revision ID: 0001
"""

from alembic import op

from svc_common.db import Roles, migration_roles, rls_statements

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

# The composite keys keep a row from referring to another account's: foreign keys are checked without row security.
_TABLES = """
CREATE TABLE users.users (
    user_id uuid NOT NULL,
    account_id uuid NOT NULL,
    email text NOT NULL,
    email_verified boolean NOT NULL,
    display_name text NOT NULL,
    password_hash text NOT NULL,
    create_time timestamptz NOT NULL,
    CONSTRAINT pk_users PRIMARY KEY (user_id),
    CONSTRAINT uq_users_email UNIQUE (email),
    CONSTRAINT uq_users_account_id UNIQUE (account_id, user_id),
    CONSTRAINT ck_users_email_is_lower_case CHECK (email = lower(email))
);
CREATE TABLE users.sessions (
    session_id uuid NOT NULL,
    account_id uuid NOT NULL,
    user_id uuid NOT NULL,
    generation integer NOT NULL,
    rotate_time timestamptz NOT NULL,
    create_time timestamptz NOT NULL,
    expire_time timestamptz NOT NULL,
    revoke_time timestamptz,
    CONSTRAINT pk_sessions PRIMARY KEY (session_id),
    CONSTRAINT uq_sessions_account_id UNIQUE (account_id, session_id),
    CONSTRAINT fk_sessions_account_id_users FOREIGN KEY (account_id, user_id)
        REFERENCES users.users (account_id, user_id)
);
CREATE INDEX ix_sessions_expire_time ON users.sessions (expire_time);
CREATE TABLE users.refresh_tokens (
    token_hash bytea NOT NULL,
    account_id uuid NOT NULL,
    session_id uuid NOT NULL,
    generation integer NOT NULL,
    create_time timestamptz NOT NULL,
    CONSTRAINT pk_refresh_tokens PRIMARY KEY (token_hash),
    CONSTRAINT ck_refresh_tokens_is_sha256 CHECK (length(token_hash) = 32),
    CONSTRAINT fk_refresh_tokens_account_id_sessions FOREIGN KEY (account_id, session_id)
        REFERENCES users.sessions (account_id, session_id) ON DELETE CASCADE
);
CREATE INDEX ix_refresh_tokens_session ON users.refresh_tokens (account_id, session_id)
"""

# An anonymous call knows an address or a token, not an account. These two functions are the only way from one to the
# other: an exact match, one answer, and nothing but an id. They run as the owner, whom FORCE ROW LEVEL SECURITY binds
# too unless it is a superuser; hence a reading policy for the owner. The fixed, empty search path keeps a caller from
# slipping other tables under the names.
_DOORS = """
CREATE POLICY doors ON users.users FOR SELECT TO CURRENT_USER USING (true);
CREATE POLICY doors ON users.refresh_tokens FOR SELECT TO CURRENT_USER USING (true);
CREATE FUNCTION users.account_by_email(sought_email text) RETURNS uuid
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = ''
    AS 'SELECT account_id FROM users.users WHERE email = sought_email';
CREATE FUNCTION users.account_by_refresh_token(sought_hash bytea) RETURNS uuid
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = ''
    AS 'SELECT account_id FROM users.refresh_tokens WHERE token_hash = sought_hash';
REVOKE ALL ON FUNCTION users.account_by_email(text), users.account_by_refresh_token(bytea) FROM PUBLIC
"""


def upgrade() -> None:
    """Creates the tables, the policies, the two functions and the privileges."""
    roles = migration_roles(op)
    _run(_TABLES)
    for table in ("users", "sessions", "refresh_tokens"):
        for statement in rls_statements("users", table, roles.requests, roles.tasks):
            op.execute(statement)
    _run(_DOORS)
    _run(_privileges(roles))


def downgrade() -> None:
    """Drops everything that `upgrade` creates."""
    op.execute("DROP FUNCTION users.account_by_email(text), users.account_by_refresh_token(bytea)")
    op.execute("DROP TABLE users.refresh_tokens, users.sessions, users.users")


def _privileges(roles: Roles) -> str:
    """Returns the grants: requests change what a request can change, and tasks never read an address or a hash."""
    return f"""
REVOKE ALL ON users.users, users.sessions, users.refresh_tokens FROM {roles.requests}, {roles.tasks};
GRANT SELECT, INSERT, UPDATE (display_name, password_hash) ON users.users TO {roles.requests};
GRANT SELECT, INSERT, UPDATE (generation, rotate_time, expire_time, revoke_time) ON users.sessions
    TO {roles.requests};
GRANT SELECT, INSERT ON users.refresh_tokens TO {roles.requests};
GRANT EXECUTE ON FUNCTION users.account_by_email(text), users.account_by_refresh_token(bytea) TO {roles.requests};
GRANT SELECT, UPDATE (expire_time), DELETE ON users.sessions TO {roles.tasks}
"""


def _run(script: str) -> None:
    # One statement at a time: asyncpg's prepared statements hold no more. No body above contains a semicolon.
    for statement in script.split(";"):
        op.execute(statement)
