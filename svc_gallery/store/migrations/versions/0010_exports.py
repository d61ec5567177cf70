"""Creates the exports and what each selected, with the policies that separate accounts.

Revision ID: 0010
Revises: 0009
"""

from alembic import op

from svc_common.db import migration_roles, rls_statements

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

_TABLES = (
    """
    CREATE TABLE gallery.exports (
        export_id uuid PRIMARY KEY,
        account_id uuid NOT NULL,
        created_by uuid NOT NULL,
        request_id text,
        request_hash bytea NOT NULL CHECK (length(request_hash) = 32),
        state smallint NOT NULL,
        with_recipes boolean NOT NULL,
        image_count integer NOT NULL CHECK (image_count > 0),
        done_count integer NOT NULL DEFAULT 0,
        left_out_count integer NOT NULL DEFAULT 0,
        size_bytes bigint NOT NULL DEFAULT 0,
        attempt integer NOT NULL DEFAULT 0,
        lease_until timestamptz,
        create_time timestamptz NOT NULL,
        expire_time timestamptz NOT NULL
    )
    """,
    "CREATE UNIQUE INDEX exports_request ON gallery.exports (account_id, request_id) WHERE request_id IS NOT NULL",
    "CREATE INDEX exports_of_account ON gallery.exports (account_id, create_time, export_id)",
    "CREATE INDEX exports_by_expiry ON gallery.exports (expire_time)",
    # 1 and 2: queued and running, the only ones that anybody may claim.
    "CREATE INDEX exports_to_make ON gallery.exports (create_time) WHERE state IN (1, 2)",
    # No key to the pictures: one that goes for good meanwhile is left out, and stands in nobody's way.
    """
    CREATE TABLE gallery.export_images (
        export_id uuid NOT NULL REFERENCES gallery.exports (export_id) ON DELETE CASCADE,
        position integer NOT NULL,
        account_id uuid NOT NULL,
        image_id uuid NOT NULL,
        PRIMARY KEY (export_id, position)
    )
    """,
)


def upgrade() -> None:
    """Creates the tables, the policies and the privileges."""
    roles = migration_roles(op)
    for statement in _TABLES:
        op.execute(statement)
    for table in ("exports", "export_images"):
        for statement in rls_statements("gallery", table, roles.requests, roles.tasks):
            op.execute(statement)


def downgrade() -> None:
    """Drops everything that `upgrade` creates."""
    op.execute("DROP TABLE gallery.export_images")
    op.execute("DROP TABLE gallery.exports")
