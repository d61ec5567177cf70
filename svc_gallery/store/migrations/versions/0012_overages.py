"""Notes since when an account's pictures take more than its tier stores, and whether its owner was told.

Revision ID: 0012
Revises: 0011
"""

from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Adds the columns, and the indices by which sweeps find what is due."""
    op.execute(
        "ALTER TABLE gallery.storage ADD COLUMN over_quota_since timestamptz, ADD COLUMN overage_mail_time timestamptz, "
        "ADD COLUMN quota_check_time timestamptz"
    )
    op.execute("CREATE INDEX storage_quota_check ON gallery.storage (quota_check_time NULLS FIRST)")
    op.execute(
        "CREATE INDEX storage_unmailed ON gallery.storage (over_quota_since) "
        "WHERE over_quota_since IS NOT NULL AND overage_mail_time IS NULL"
    )


def downgrade() -> None:
    """Drops everything that `upgrade` adds."""
    op.execute("DROP INDEX gallery.storage_unmailed")
    op.execute("DROP INDEX gallery.storage_quota_check")
    op.execute(
        "ALTER TABLE gallery.storage DROP COLUMN over_quota_since, DROP COLUMN overage_mail_time, "
        "DROP COLUMN quota_check_time"
    )
