"""Keep which tiers administrators have paused.

Revision ID: 0008
Revises: 0007
"""

from alembic import op

from svc_common.db import migration_roles

revision = "0008"
down_revision = "0007"

# A row is of no account: only the role for tasks reaches it.
_TABLE = """
CREATE TABLE generation.tier_pauses (
    tier smallint PRIMARY KEY,
    reason text NOT NULL,
    paused_by uuid NOT NULL,
    pause_time timestamptz NOT NULL,
    resume_time timestamptz,
    CHECK (resume_time >= pause_time)
)
"""


def upgrade() -> None:
    op.execute(_TABLE)
    op.execute(f'GRANT SELECT, INSERT, UPDATE ON generation.tier_pauses TO "{migration_roles(op).tasks}"')


def downgrade() -> None:
    op.execute("DROP TABLE generation.tier_pauses")
