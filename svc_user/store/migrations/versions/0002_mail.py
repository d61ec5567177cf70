"""Adds the language of a user, the outbox of mails, and the tokens of the links in them.

Revision ID: 0002
"""

from alembic import op

from svc_common.db import Roles, migration_roles, rls_statements

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

# A mail has no account: it is asked for by strangers, for addresses that may be nobody's, and must be written down
# alike in either case, or the time that the answer takes would tell them apart. Whether anybody has the address is
# looked up when the mail is sent.
_TABLES = """
ALTER TABLE users.users ADD COLUMN locale text NOT NULL DEFAULT 'en';
CREATE TABLE users.mails (
    mail_id uuid NOT NULL,
    email text NOT NULL,
    kind text NOT NULL,
    create_time timestamptz NOT NULL,
    attempt_count integer NOT NULL,
    next_attempt_time timestamptz NOT NULL,
    CONSTRAINT pk_mails PRIMARY KEY (mail_id)
);
CREATE INDEX ix_mails_next_attempt_time ON users.mails (next_attempt_time);
CREATE TABLE users.link_tokens (
    token_hash bytea NOT NULL,
    account_id uuid NOT NULL,
    user_id uuid NOT NULL,
    purpose text NOT NULL,
    expire_time timestamptz NOT NULL,
    CONSTRAINT pk_link_tokens PRIMARY KEY (token_hash),
    CONSTRAINT ck_link_tokens_is_sha256 CHECK (length(token_hash) = 32),
    CONSTRAINT fk_link_tokens_account_id_users FOREIGN KEY (account_id, user_id)
        REFERENCES users.users (account_id, user_id) ON DELETE CASCADE
);
CREATE INDEX ix_link_tokens_user ON users.link_tokens (account_id, user_id);
CREATE INDEX ix_link_tokens_expire_time ON users.link_tokens (expire_time)
"""

# The third way from what an anonymous call knows to an account, like the two of 0001.
_DOOR = """
CREATE POLICY doors ON users.link_tokens FOR SELECT TO CURRENT_USER USING (true);
CREATE FUNCTION users.account_by_link_token(sought_hash bytea) RETURNS uuid
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = ''
    AS 'SELECT account_id FROM users.link_tokens WHERE token_hash = sought_hash';
REVOKE ALL ON FUNCTION users.account_by_link_token(bytea) FROM PUBLIC
"""


def upgrade() -> None:
    """Creates the column, the tables, their policies, the function and the privileges."""
    roles = migration_roles(op)
    _run(_TABLES)
    for statement in rls_statements("users", "link_tokens", roles.requests, roles.tasks):
        op.execute(statement)
    _run(_DOOR)
    _run(_outbox_policies(roles))
    _run(_privileges(roles))


def downgrade() -> None:
    """Drops everything that `upgrade` creates."""
    op.execute("DROP FUNCTION users.account_by_link_token(bytea)")
    op.execute("DROP TABLE users.link_tokens, users.mails")
    op.execute("ALTER TABLE users.users DROP COLUMN locale")


def _outbox_policies(roles: Roles) -> str:
    """Returns the policies of the outbox: requests put mails in and never see one again."""
    return f"""
ALTER TABLE users.mails ENABLE ROW LEVEL SECURITY;
ALTER TABLE users.mails FORCE ROW LEVEL SECURITY;
CREATE POLICY put_in ON users.mails FOR INSERT TO {roles.requests} WITH CHECK (true);
CREATE POLICY send ON users.mails FOR ALL TO {roles.tasks} USING (true) WITH CHECK (true)
"""


def _privileges(roles: Roles) -> str:
    """Returns the grants. Tasks send mails, so that they read addresses, but neither names nor passwords."""
    return f"""
REVOKE ALL ON users.link_tokens FROM {roles.requests}, {roles.tasks};
GRANT UPDATE (locale, email_verified) ON users.users TO {roles.requests};
GRANT SELECT, DELETE ON users.link_tokens TO {roles.requests};
GRANT EXECUTE ON FUNCTION users.account_by_link_token(bytea) TO {roles.requests};
GRANT INSERT ON users.mails TO {roles.requests};
GRANT SELECT, UPDATE (attempt_count, next_attempt_time), DELETE ON users.mails TO {roles.tasks};
GRANT SELECT (user_id, account_id, email, email_verified, locale) ON users.users TO {roles.tasks};
GRANT INSERT, SELECT (token_hash, expire_time), DELETE ON users.link_tokens TO {roles.tasks}
"""


def _run(script: str) -> None:
    # One statement at a time: asyncpg's prepared statements hold no more. No body above contains a semicolon.
    for statement in script.split(";"):
        op.execute(statement)
