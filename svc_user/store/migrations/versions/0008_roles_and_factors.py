"""Adds roles and suspension, second factors, and the audit log.

Revision ID: 0008
"""

from alembic import op

from svc_common.db import Roles, migration_roles, rls_statements

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

# The epoch counts what ends every access token of a user: one that names an earlier epoch is refused.
_TABLES = """
ALTER TABLE users.users
    ADD COLUMN role text NOT NULL DEFAULT 'user',
    ADD COLUMN suspend_time timestamptz,
    ADD COLUMN suspend_reason text NOT NULL DEFAULT '',
    ADD COLUMN token_epoch integer NOT NULL DEFAULT 0,
    ADD CONSTRAINT ck_users_is_known_role CHECK (role IN ('user', 'support', 'administrator'));
CREATE INDEX ix_users_email_prefix ON users.users (email text_pattern_ops);
CREATE INDEX ix_users_display_name_prefix ON users.users (lower(display_name) text_pattern_ops);
CREATE INDEX ix_users_role ON users.users (role) WHERE role <> 'user';
CREATE TABLE users.second_factors (
    user_id uuid NOT NULL,
    account_id uuid NOT NULL,
    sealed_secret bytea NOT NULL,
    create_time timestamptz NOT NULL,
    confirm_time timestamptz,
    last_used_step bigint NOT NULL DEFAULT 0,
    CONSTRAINT pk_second_factors PRIMARY KEY (user_id),
    CONSTRAINT fk_second_factors_account_id_users FOREIGN KEY (account_id, user_id)
        REFERENCES users.users (account_id, user_id) ON DELETE CASCADE
);
CREATE TABLE users.recovery_codes (
    user_id uuid NOT NULL,
    account_id uuid NOT NULL,
    code_hash bytea NOT NULL,
    CONSTRAINT pk_recovery_codes PRIMARY KEY (user_id, code_hash),
    CONSTRAINT ck_recovery_codes_is_sha256 CHECK (length(code_hash) = 32),
    CONSTRAINT fk_recovery_codes_user_id_second_factors FOREIGN KEY (user_id)
        REFERENCES users.second_factors (user_id) ON DELETE CASCADE
);
CREATE TABLE users.audit_events (
    event_id uuid NOT NULL,
    account_id uuid NOT NULL,
    actor text NOT NULL,
    kind text NOT NULL,
    create_time timestamptz NOT NULL,
    network text NOT NULL,
    user_agent text NOT NULL,
    before jsonb NOT NULL,
    after jsonb NOT NULL,
    CONSTRAINT pk_audit_events PRIMARY KEY (event_id)
);
CREATE INDEX ix_audit_events_account ON users.audit_events (account_id, event_id)
"""

# Nobody can change or delete what the log has, but when an account is erased its events go as well. The function runs as
# the owner and can't be used against an account that is there.
_FORGETTING = """
CREATE POLICY doors ON users.audit_events FOR ALL TO CURRENT_USER USING (true);
CREATE FUNCTION users.forget_audit_events(erased_account_id uuid) RETURNS void
    LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = ''
    AS 'DELETE FROM users.audit_events WHERE account_id = erased_account_id
        AND NOT EXISTS (SELECT FROM users.users WHERE users.users.account_id = erased_account_id)';
REVOKE ALL ON FUNCTION users.forget_audit_events(uuid) FROM PUBLIC
"""


def upgrade() -> None:
    """Creates the columns, the tables, their policies and the privileges."""
    roles = migration_roles(op)
    _run(_TABLES)
    for table in ("second_factors", "recovery_codes", "audit_events"):
        for statement in rls_statements("users", table, roles.requests, roles.tasks):
            op.execute(statement)
    _run(_FORGETTING)
    _run(_privileges(roles))


def downgrade() -> None:
    """Drops everything that `upgrade` creates."""
    op.execute("DROP FUNCTION users.forget_audit_events(uuid)")
    op.execute("DROP TABLE users.audit_events, users.recovery_codes, users.second_factors")
    op.execute("DROP INDEX users.ix_users_email_prefix, users.ix_users_display_name_prefix")
    op.execute(
        "ALTER TABLE users.users DROP COLUMN role, DROP COLUMN suspend_time, DROP COLUMN suspend_reason, "
        "DROP COLUMN token_epoch"
    )


def _privileges(roles: Roles) -> str:
    """Returns the grants.

    Requests can't change a role or a suspension, so that no mistake in a method for users makes an administrator: what
    administrators do runs under the tasks role. Nobody can change or delete what the audit log has.
    """
    return f"""
REVOKE ALL ON users.second_factors, users.recovery_codes, users.audit_events FROM {roles.requests}, {roles.tasks};
REVOKE INSERT ON users.users FROM {roles.requests};
GRANT INSERT (user_id, account_id, email, email_verified, display_name, password_hash, create_time, locale),
    UPDATE (token_epoch) ON users.users TO {roles.requests};
GRANT SELECT (display_name, create_time, role, suspend_time, suspend_reason, token_epoch),
    UPDATE (role, suspend_time, suspend_reason, token_epoch) ON users.users TO {roles.tasks};
GRANT UPDATE (revoke_time) ON users.sessions TO {roles.tasks};
GRANT SELECT, INSERT, UPDATE, DELETE ON users.second_factors TO {roles.requests};
GRANT SELECT, INSERT, DELETE ON users.recovery_codes TO {roles.requests};
GRANT SELECT (user_id, confirm_time), DELETE ON users.second_factors TO {roles.tasks};
GRANT INSERT ON users.mails TO {roles.tasks};
GRANT SELECT, INSERT ON users.audit_events TO {roles.requests}, {roles.tasks};
GRANT EXECUTE ON FUNCTION users.forget_audit_events(uuid) TO {roles.tasks}
"""


def _run(script: str) -> None:
    # One statement at a time: asyncpg's prepared statements hold no more. No body above contains a semicolon.
    for statement in script.split(";"):
        op.execute(statement)
