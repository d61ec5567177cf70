"""Let the pictures of a job be deleted that failed after they were imported.

Revision ID: 0003
Revises: 0002
"""

from alembic import op

from svc_common.db import migration_roles

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Grants the deletion; the policies let each account's rows be reached only in its name, as before."""
    op.execute(f'GRANT DELETE ON gallery.images TO "{migration_roles(op).requests}"')


def downgrade() -> None:
    """Takes back what `upgrade` grants."""
    op.execute(f'REVOKE DELETE ON gallery.images FROM "{migration_roles(op).requests}"')
