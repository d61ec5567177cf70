"""Adds the words that a LoRA answers to.

Processes of the version before go on beside it: what they insert has none.

Revision ID: 0003
"""

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Adds the column."""
    op.execute("ALTER TABLE models.model_revisions ADD COLUMN trigger_words text[] NOT NULL DEFAULT '{}'")


def downgrade() -> None:
    """Takes the column away; the next look at the manifests brings the words back."""
    op.execute("ALTER TABLE models.model_revisions DROP COLUMN trigger_words")
