"""Keeps what accounts are notified of, and the outbox of the notices, which a trigger and sweeps fill."""

from __future__ import annotations

from alembic import op

from svc_common.functions import replace_function
from svc_common.roles import migration_roles, rls_statements

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

TABLES = (
    """
    ALTER TABLE payment.accounts
        ADD COLUMN low_balance bigint CONSTRAINT accounts_low_balance_check CHECK (low_balance > 0),
        ADD COLUMN mails_statements boolean NOT NULL DEFAULT true
    """,
    # The key names what happened, so that noting it twice adds nothing. Without `next_time` a notice is delivered.
    """
    CREATE TABLE payment.notices (
        notice_id uuid PRIMARY KEY,
        account_id uuid NOT NULL,
        business_key text NOT NULL,
        channel text NOT NULL CONSTRAINT notices_channel_check CHECK (channel IN ('mail', 'event', 'sales', 'audit')),
        kind text NOT NULL,
        content jsonb NOT NULL,
        create_time timestamptz NOT NULL,
        attempts integer NOT NULL DEFAULT 0,
        next_time timestamptz,
        CONSTRAINT notices_business_key UNIQUE (account_id, business_key, channel)
    )
    """,
    "CREATE INDEX notices_due ON payment.notices (next_time) WHERE next_time IS NOT NULL",
    "CREATE INDEX notices_done ON payment.notices (create_time) WHERE next_time IS NULL",
    # How far the statements of a month are: up to which account, in the order of the ids.
    """
    CREATE TABLE payment.statement_months (
        start_time timestamptz PRIMARY KEY,
        last_account_id uuid,
        is_done boolean NOT NULL DEFAULT false
    )
    """,
    # Nobody is mailed in the middle of a month about the one before it.
    """
    INSERT INTO payment.statement_months (start_time, is_done)
        VALUES (date_trunc('month', payment.ledger_now(), 'UTC') - interval '1 month', true)
    """,
)

# The condition is part of the trigger: a movement that doesn't cross the threshold costs a comparison.
TRIGGER = """
    CREATE CONSTRAINT TRIGGER note_low_balance AFTER UPDATE ON payment.accounts
        DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
        WHEN (NEW.available + NEW.held < NEW.low_balance AND OLD.available + OLD.held >= NEW.low_balance)
        EXECUTE FUNCTION payment.note_low_balance()
"""


def upgrade() -> None:
    """Creates the tables and the trigger. Requests choose through a function; the tasks deliver."""
    roles = migration_roles(op)
    for statement in TABLES:
        op.execute(statement)
    for name in ("note_low_balance", "set_notices"):
        replace_function("payment", name)
        op.execute(f"REVOKE EXECUTE ON FUNCTION payment.{name} FROM PUBLIC")
    op.execute(TRIGGER)
    for statement in (
        *rls_statements("payment", "notices", roles.requests, roles.tasks, privileges=["SELECT"]),
        "CREATE POLICY ledger_functions ON payment.notices TO CURRENT_USER USING (true) WITH CHECK (true)",
        f"GRANT INSERT, UPDATE, DELETE ON payment.notices TO {roles.tasks}",
        f"GRANT SELECT, INSERT, UPDATE ON payment.statement_months TO {roles.tasks}",
        f"GRANT EXECUTE ON FUNCTION payment.set_notices(uuid, bigint, boolean) TO {roles.requests}",
    ):
        op.execute(statement)


def downgrade() -> None:
    """Drops what the upgrade has made: nobody is notified any more."""
    op.execute("DROP TRIGGER note_low_balance ON payment.accounts")
    op.execute("DROP FUNCTION payment.note_low_balance, payment.set_notices")
    op.execute("DROP TABLE payment.notices, payment.statement_months")
    op.execute("ALTER TABLE payment.accounts DROP COLUMN low_balance, DROP COLUMN mails_statements")
