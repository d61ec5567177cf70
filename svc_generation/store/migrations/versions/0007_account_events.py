"""Let a webhook delivery hold an event of no job, such as that of a low balance.

Revision ID: 0007
Revises: 0006
"""

from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    op.execute("ALTER TABLE generation.webhook_deliveries ADD COLUMN content bytea")


def downgrade() -> None:
    op.execute("ALTER TABLE generation.webhook_deliveries DROP COLUMN content")
