"""Index the jobs of an account by their end, for the sums of what they used.

Revision ID: 0004
Revises: 0003
"""

from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    # Jobs go on being accepted meanwhile, which an index made within a transaction would hold up.
    with op.get_context().autocommit_block():
        op.execute(
            "CREATE INDEX CONCURRENTLY IF NOT EXISTS jobs_ended ON generation.jobs (account_id, end_time) "
            "WHERE end_time IS NOT NULL"
        )
