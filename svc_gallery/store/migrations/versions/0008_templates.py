"""Creates the templates of accounts and how often each is used, with the policies that separate accounts.

Revision ID: 0008
Revises: 0007
"""

from alembic import op

from svc_common.db import migration_roles, rls_statements

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

_TABLES = (
    """
    CREATE TABLE gallery.templates (
        template_id uuid PRIMARY KEY,
        account_id uuid NOT NULL,
        created_by uuid NOT NULL,
        request_id text,
        request_hash bytea NOT NULL CHECK (length(request_hash) = 32),
        kind smallint NOT NULL,
        category text NOT NULL,
        content bytea NOT NULL,
        content_hash bytea NOT NULL CHECK (length(content_hash) = 32),
        example_image_id uuid REFERENCES gallery.images (image_id) ON DELETE SET NULL,
        create_time timestamptz NOT NULL,
        update_time timestamptz NOT NULL
    )
    """,
    """
    CREATE UNIQUE INDEX templates_request ON gallery.templates (account_id, request_id) WHERE request_id IS NOT NULL
    """,
    "CREATE INDEX templates_of_account ON gallery.templates (account_id, create_time, template_id)",
    # For the foreign key, which looks for what refers to a picture that goes.
    """
    CREATE INDEX templates_with_example ON gallery.templates (example_image_id) WHERE example_image_id IS NOT NULL
    """,
    # Apart from the templates: those that come with the platform have no rows, and are used by accounts all the same.
    """
    CREATE TABLE gallery.template_uses (
        account_id uuid NOT NULL,
        template_id text NOT NULL,
        use_count integer NOT NULL CHECK (use_count > 0),
        PRIMARY KEY (account_id, template_id)
    )
    """,
)


def upgrade() -> None:
    """Creates the tables, the policies and the privileges."""
    roles = migration_roles(op)
    for statement in _TABLES:
        op.execute(statement)
    for table in ("templates", "template_uses"):
        for statement in rls_statements("gallery", table, roles.requests, roles.tasks):
            op.execute(statement)


def downgrade() -> None:
    """Drops everything that `upgrade` creates."""
    op.execute("DROP TABLE gallery.template_uses")
    op.execute("DROP TABLE gallery.templates")
