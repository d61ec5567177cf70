"""Creates the LoRAs that accounts have of their own, with the policies that separate accounts.

Revision ID: 0004
"""

from alembic import op

from svc_common.db import migration_roles, rls_statements

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_TABLES = (
    """
    CREATE TABLE models.own_loras (
        lora_id uuid PRIMARY KEY,
        account_id uuid NOT NULL,
        created_by uuid NOT NULL,
        request_id text,
        display_name text NOT NULL,
        family text NOT NULL,
        trigger_words text[] NOT NULL,
        size_bytes bigint NOT NULL CHECK (size_bytes > 0),
        state smallint NOT NULL,
        sha256 text,
        module_count integer NOT NULL DEFAULT 0,
        unmatched_module_count integer NOT NULL DEFAULT 0,
        rank integer NOT NULL DEFAULT 0,
        refusal text NOT NULL DEFAULT '',
        attempt integer NOT NULL DEFAULT 0,
        lease_until timestamptz,
        has_parts boolean NOT NULL DEFAULT true,
        address_expire_time timestamptz NOT NULL,
        create_time timestamptz NOT NULL,
        expire_time timestamptz NOT NULL,
        CONSTRAINT own_loras_ready CHECK (state <> 3 OR sha256 IS NOT NULL)
    )
    """,
    "CREATE UNIQUE INDEX own_loras_request ON models.own_loras (account_id, request_id) WHERE request_id IS NOT NULL",
    "CREATE INDEX own_loras_of_account ON models.own_loras (account_id, create_time DESC, lora_id DESC)",
    # For the background work, which looks for the few that something is to be done for.
    "CREATE INDEX own_loras_to_assemble ON models.own_loras (create_time) WHERE state = 2",
    "CREATE INDEX own_loras_to_delete ON models.own_loras (state, expire_time) WHERE state IN (1, 4, 5)",
    "CREATE INDEX own_loras_with_parts ON models.own_loras (address_expire_time) WHERE has_parts",
)


def upgrade() -> None:
    """Creates the table, the policies and the privileges: requests mark a LoRA as deleted, and only tasks delete it."""
    roles = migration_roles(op)
    for statement in _TABLES:
        op.execute(statement)
    privileges = ("SELECT", "INSERT", "UPDATE")
    for statement in rls_statements("models", "own_loras", roles.requests, roles.tasks, privileges=privileges):
        op.execute(statement)
    op.execute(f'GRANT DELETE ON models.own_loras TO "{roles.tasks}"')


def downgrade() -> None:
    """Drops everything that `upgrade` creates."""
    op.execute("DROP TABLE models.own_loras")
