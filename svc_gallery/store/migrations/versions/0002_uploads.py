"""Creates the uploads, with the policies that separate accounts.

Revision ID: 0002
Revises: 0001
"""

from alembic import op

from svc_common.db import migration_roles, rls_statements

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_TABLES = (
    """
    CREATE TABLE gallery.uploads (
        upload_id uuid PRIMARY KEY,
        account_id uuid NOT NULL,
        created_by uuid NOT NULL,
        request_id text,
        content_type text NOT NULL,
        size_bytes bigint NOT NULL CHECK (size_bytes > 0),
        create_time timestamptz NOT NULL,
        expire_time timestamptz NOT NULL
    )
    """,
    "CREATE UNIQUE INDEX uploads_request ON gallery.uploads (account_id, request_id) WHERE request_id IS NOT NULL",
    # For the count of an account's open ones, and for the sweep of those that have expired.
    "CREATE INDEX uploads_of_account ON gallery.uploads (account_id, expire_time)",
    "CREATE INDEX uploads_by_expiry ON gallery.uploads (expire_time)",
)


def upgrade() -> None:
    """Creates the table, the policies and the privileges; an upload never changes until it is deleted."""
    roles = migration_roles(op)
    for statement in _TABLES:
        op.execute(statement)
    privileges = ("SELECT", "INSERT", "DELETE")
    for statement in rls_statements("gallery", "uploads", roles.requests, roles.tasks, privileges=privileges):
        op.execute(statement)


def downgrade() -> None:
    """Drops everything that `upgrade` creates."""
    op.execute("DROP TABLE gallery.uploads")
