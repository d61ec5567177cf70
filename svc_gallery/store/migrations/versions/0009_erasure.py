"""Lets tasks delete what an account's pictures take, when the account is erased.

Revision ID: 0009
"""

from alembic import op

from svc_common.db import migration_roles

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Grants it."""
    op.execute(f'GRANT DELETE ON gallery.storage TO "{migration_roles(op).tasks}"')


def downgrade() -> None:
    """Takes it back."""
    op.execute(f'REVOKE DELETE ON gallery.storage FROM "{migration_roles(op).tasks}"')
