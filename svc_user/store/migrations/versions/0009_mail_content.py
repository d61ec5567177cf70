"""Lets a mail hold what it is about: amounts and dates, never a text that a stranger chose.

Revision ID: 0009
"""

from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("ALTER TABLE users.mails ADD COLUMN content bytea")


def downgrade() -> None:
    op.execute("ALTER TABLE users.mails DROP COLUMN content")
