"""Keeps when the present state of a subscription was learnt.

Providers' clocks may have whole seconds. Of two states of the same second, an answer to a question that was asked after
the other had been learnt is the newer one.
"""

from __future__ import annotations

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Adds the column; what is known so far counts as learnt before any question."""
    op.execute("ALTER TABLE payment.subscriptions ADD COLUMN learn_time timestamptz NOT NULL DEFAULT 'epoch'")


def downgrade() -> None:
    """Drops the column."""
    op.execute("ALTER TABLE payment.subscriptions DROP COLUMN learn_time")
