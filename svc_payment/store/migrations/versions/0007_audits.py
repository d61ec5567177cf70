"""Keeps which part of the ledger was audited when, so that a round looks only at accounts whose credits have moved since."""

from __future__ import annotations

from alembic import op

from svc_common.roles import migration_roles, rls_statements

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

# An account without a row was never audited.
TABLE = """
    CREATE TABLE payment.audits (
        account_id uuid PRIMARY KEY REFERENCES payment.accounts,
        transaction_count bigint NOT NULL,
        audit_time timestamptz NOT NULL
    )
"""


def upgrade() -> None:
    """Creates the table. Requests may see that they were audited; the sweep alone writes."""
    roles = migration_roles(op)
    op.execute(TABLE)
    for statement in (
        *rls_statements("payment", "audits", roles.requests, roles.tasks, privileges=["SELECT"]),
        f"GRANT INSERT, UPDATE ON payment.audits TO {roles.tasks}",
    ):
        op.execute(statement)


def downgrade() -> None:
    """Drops the table: everything is audited anew then."""
    op.execute("DROP TABLE payment.audits")
