"""Keeps requests for the enterprise plan, and the contracts that were activated."""

from __future__ import annotations

from alembic import op

from svc_common.roles import migration_roles, rls_statements

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

TABLES = (
    """
    CREATE TABLE payment.enterprise_leads (
        lead_id uuid PRIMARY KEY,
        account_id uuid NOT NULL,
        created_by uuid NOT NULL,
        request_id text,
        company text NOT NULL,
        contact text NOT NULL,
        message text NOT NULL,
        create_time timestamptz NOT NULL
    )
    """,
    """
    CREATE UNIQUE INDEX enterprise_leads_request ON payment.enterprise_leads (account_id, request_id)
        WHERE request_id IS NOT NULL
    """,
    "CREATE INDEX enterprise_leads_newest ON payment.enterprise_leads (create_time DESC, lead_id DESC)",
    # A limit of zero is the tier's. Credits are millicredits.
    """
    CREATE TABLE payment.enterprise_contracts (
        reference text PRIMARY KEY,
        account_id uuid NOT NULL,
        activated_by uuid NOT NULL,
        start_time timestamptz NOT NULL,
        end_time timestamptz NOT NULL CHECK (end_time > start_time),
        credits bigint NOT NULL CHECK (credits > 0),
        storage_bytes bigint NOT NULL,
        running_jobs integer NOT NULL,
        requests_per_second integer NOT NULL,
        amount_cents integer NOT NULL,
        currency text NOT NULL
    )
    """,
    "CREATE INDEX enterprise_contracts_account ON payment.enterprise_contracts (account_id, end_time)",
)


def upgrade() -> None:
    """Creates the tables. People write leads, the tasks read them all and write contracts."""
    roles = migration_roles(op)
    for statement in TABLES:
        op.execute(statement)
    for statement in (
        *rls_statements("payment", "enterprise_leads", roles.requests, roles.tasks, privileges=["SELECT"]),
        *rls_statements("payment", "enterprise_contracts", roles.requests, roles.tasks, privileges=["SELECT"]),
        f"GRANT INSERT ON payment.enterprise_leads, payment.notices TO {roles.requests}",
        f"GRANT INSERT ON payment.enterprise_contracts TO {roles.tasks}",
    ):
        op.execute(statement)


def downgrade() -> None:
    """Drops the tables."""
    op.execute("DROP TABLE payment.enterprise_leads, payment.enterprise_contracts")
