"""Keep how many bytes the pictures of each account take, so that a quota is checked without reading all of them.

Revision ID: 0006
Revises: 0005
"""

from alembic import op

from svc_common.db import migration_roles, rls_statements

revision = "0006"
down_revision = "0005"

_TABLE = """
    CREATE TABLE gallery.storage (
        account_id uuid PRIMARY KEY,
        image_bytes bigint NOT NULL CHECK (image_bytes >= 0)
    ) WITH (fillfactor = 50)
"""

# Whoever inserts or deletes pictures, by whichever statement, the sum stays true. The rows are taken in one order, so that
# statements on several accounts don't deadlock. It runs with the rights of the caller, and so under the same policies.
_FUNCTION = """
    CREATE FUNCTION gallery.count_image_bytes() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        INSERT INTO gallery.storage AS kept (account_id, image_bytes)
            SELECT account_id, sum(size_bytes) FROM changed GROUP BY account_id ORDER BY account_id
            ON CONFLICT (account_id) DO UPDATE SET image_bytes =
                kept.image_bytes + CASE TG_OP WHEN 'DELETE' THEN -excluded.image_bytes ELSE excluded.image_bytes END;
        RETURN NULL;
    END $$
"""
_TRIGGERS = (
    """
    CREATE TRIGGER count_inserted AFTER INSERT ON gallery.images REFERENCING NEW TABLE AS changed
        FOR EACH STATEMENT EXECUTE FUNCTION gallery.count_image_bytes()
    """,
    """
    CREATE TRIGGER count_deleted AFTER DELETE ON gallery.images REFERENCING OLD TABLE AS changed
        FOR EACH STATEMENT EXECUTE FUNCTION gallery.count_image_bytes()
    """,
)

# The triggers' lock keeps writers out until the sums of what is there are in. For that moment the owner sees all rows.
_BACKFILL = (
    "ALTER TABLE gallery.images NO FORCE ROW LEVEL SECURITY",
    "INSERT INTO gallery.storage SELECT account_id, sum(size_bytes) FROM gallery.images GROUP BY account_id",
    "ALTER TABLE gallery.images FORCE ROW LEVEL SECURITY",
)


def upgrade() -> None:
    """Creates the sums, and what keeps them."""
    roles = migration_roles(op)
    for statement in (_TABLE, _FUNCTION, *_TRIGGERS, *_BACKFILL):
        op.execute(statement)
    privileges = ("SELECT", "INSERT", "UPDATE")
    for statement in rls_statements("gallery", "storage", roles.requests, roles.tasks, privileges=privileges):
        op.execute(statement)


def downgrade() -> None:
    """Drops everything that `upgrade` creates."""
    for trigger in ("count_inserted", "count_deleted"):
        op.execute(f"DROP TRIGGER {trigger} ON gallery.images")
    op.execute("DROP FUNCTION gallery.count_image_bytes")
    op.execute("DROP TABLE gallery.storage")
