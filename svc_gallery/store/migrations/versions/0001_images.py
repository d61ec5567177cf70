"""Creates the gallery's pictures, with the policies that separate accounts.

Revision ID: 0001
"""

from alembic import op

from svc_common.db import migration_roles, rls_statements

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_TABLES = (
    """
    CREATE TABLE gallery.images (
        image_id uuid PRIMARY KEY,
        account_id uuid NOT NULL,
        created_by uuid NOT NULL,
        job_id uuid NOT NULL,
        position integer NOT NULL CHECK (position >= 0),
        width_px integer NOT NULL CHECK (width_px > 0),
        height_px integer NOT NULL CHECK (height_px > 0),
        size_bytes bigint NOT NULL CHECK (size_bytes > 0),
        sha256 text NOT NULL CHECK (length(sha256) = 64),
        content_type text NOT NULL,
        prompt text NOT NULL,
        model_id text NOT NULL,
        seed bigint NOT NULL,
        create_time timestamptz NOT NULL,
        UNIQUE (job_id, position)
    )
    """,
    # Read backwards for "newest first".
    "CREATE INDEX images_newest_first ON gallery.images (account_id, create_time, image_id)",
)


def upgrade() -> None:
    """Creates the table, the policies and the privileges; a picture never changes once it is in."""
    roles = migration_roles(op)
    for statement in _TABLES:
        op.execute(statement)
    policies = rls_statements("gallery", "images", roles.requests, roles.tasks, privileges=("SELECT", "INSERT"))
    for statement in policies:
        op.execute(statement)


def downgrade() -> None:
    """Drops everything that `upgrade` creates."""
    op.execute("DROP TABLE gallery.images")
