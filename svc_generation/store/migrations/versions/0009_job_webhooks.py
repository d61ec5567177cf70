"""Let a job bring an address of its own for its events, and give each account the secret that signs what goes there.

Such an address is an endpoint with the job's id, so that the outbox, its deliveries and their log are as for those that are
registered. The trigger finds it by that id, and the registered ones by an index that leaves the others out: an account with
very many jobs pays no more for a change than one with few.

Revision ID: 0009
Revises: 0008
"""

from alembic import op

from svc_common.db import migration_roles, rls_statements
from svc_common.functions import replace_function

revision = "0009"
down_revision = "0008"

_TABLE = """
CREATE TABLE generation.webhook_secrets (
    account_id uuid PRIMARY KEY,
    secret bytea NOT NULL,
    old_secret bytea,
    old_secret_expire_time timestamptz,
    create_time timestamptz NOT NULL
)
"""


def upgrade() -> None:
    roles = migration_roles(op)
    op.execute(_TABLE)
    for statement in rls_statements("generation", "webhook_secrets", roles.requests, roles.tasks):
        op.execute(statement)
    # Of at most 20 rows an account, and so made within the transaction.
    op.execute("ALTER TABLE generation.webhook_endpoints ADD COLUMN of_job boolean NOT NULL DEFAULT false")
    op.execute(
        "CREATE INDEX webhook_endpoints_registered ON generation.webhook_endpoints "
        "(account_id, create_time DESC, endpoint_id DESC) WHERE NOT of_job"
    )
    op.execute("CREATE INDEX webhook_endpoints_of_jobs ON generation.webhook_endpoints (create_time) WHERE of_job")
    replace_function("generation", "note_webhook_deliveries")
