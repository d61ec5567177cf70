"""Keeps what each picture was made from, and lets links ask for a password and offer no download.

Revision ID: 0011
Revises: 0010
"""

from alembic import op

from svc_common.db import migration_roles

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

_CHANGES = (
    # No key to the parent: when that goes for good, what was made from it stays, and nothing has to be locked.
    """
    ALTER TABLE gallery.images
        ADD COLUMN operation smallint NOT NULL DEFAULT 0,
        ADD COLUMN parent_image_id uuid
    """,
    """
    CREATE INDEX images_of_parent ON gallery.images (account_id, parent_image_id, create_time, image_id)
        WHERE parent_image_id IS NOT NULL
    """,
    # For the tags' histogram: most pictures have none.
    "CREATE INDEX images_tagged ON gallery.images (account_id) WHERE tags <> '{}' AND delete_time IS NULL",
    # The view has the columns that the table had when it was made.
    """
    CREATE OR REPLACE VIEW gallery.own_images AS SELECT * FROM gallery.images
        WHERE account_id = (SELECT NULLIF(current_setting('app.account_id', true), '')::uuid)
    """,
    """
    ALTER TABLE gallery.share_links
        ADD COLUMN no_download boolean NOT NULL DEFAULT false,
        ADD COLUMN password_hash text,
        ADD COLUMN failed_count integer NOT NULL DEFAULT 0,
        ADD COLUMN failed_since timestamptz
    """,
)


def upgrade() -> None:
    """Adds the columns and the index."""
    for statement in _CHANGES:
        op.execute(statement)


def downgrade() -> None:
    """Drops everything that `upgrade` adds."""
    op.execute(
        "ALTER TABLE gallery.share_links DROP COLUMN no_download, DROP COLUMN password_hash, DROP COLUMN failed_count, "
        "DROP COLUMN failed_since"
    )
    # A view can lose no columns: it is made anew.
    op.execute("DROP VIEW gallery.own_images")
    op.execute("DROP INDEX gallery.images_of_parent")
    op.execute("DROP INDEX gallery.images_tagged")
    op.execute("ALTER TABLE gallery.images DROP COLUMN operation, DROP COLUMN parent_image_id")
    op.execute(
        "CREATE VIEW gallery.own_images AS SELECT * FROM gallery.images "
        "WHERE account_id = (SELECT NULLIF(current_setting('app.account_id', true), '')::uuid)"
    )
    op.execute(f'GRANT SELECT ON gallery.own_images TO "{migration_roles(op).requests}"')
