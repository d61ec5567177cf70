"""Lets owners star, rate, tag and search their pictures, and gives them a bin.

Revision ID: 0005
Revises: 0004
"""

import sqlalchemy as sa
from alembic import op

from svc_common.db import migration_roles
from svc_gallery.domain.search import searched_for

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_COLUMNS = """
ALTER TABLE gallery.images
    ADD COLUMN title text NOT NULL DEFAULT '',
    ADD COLUMN note text NOT NULL DEFAULT '',
    ADD COLUMN tags text[] NOT NULL DEFAULT '{}',
    ADD COLUMN rating smallint NOT NULL DEFAULT 0 CHECK (rating BETWEEN 0 AND 5),
    ADD COLUMN starred boolean NOT NULL DEFAULT false,
    ADD COLUMN delete_time timestamptz,
    ADD COLUMN purge_time timestamptz,
    ADD COLUMN search tsvector NOT NULL DEFAULT '',
    ADD CONSTRAINT ck_images_bin CHECK ((delete_time IS NULL) = (purge_time IS NULL))
"""
# Each list that a filter makes has an index in its order, so that a page costs the same wherever it lies.
_INDEXES = (
    "DROP INDEX gallery.images_newest_first",
    "CREATE INDEX images_newest_first ON gallery.images (account_id, create_time, image_id) WHERE delete_time IS NULL",
    """
    CREATE INDEX images_starred ON gallery.images (account_id, create_time, image_id)
        WHERE starred AND delete_time IS NULL
    """,
    """
    CREATE INDEX images_rated ON gallery.images (account_id, create_time, image_id, rating)
        WHERE rating > 0 AND delete_time IS NULL
    """,
    """
    CREATE INDEX images_of_model ON gallery.images (account_id, model_id, create_time, image_id)
        WHERE delete_time IS NULL
    """,
    "CREATE INDEX images_in_bin ON gallery.images (account_id, create_time, image_id) WHERE delete_time IS NOT NULL",
    "CREATE INDEX images_to_purge ON gallery.images (purge_time) WHERE purge_time IS NOT NULL",
    "CREATE INDEX images_search ON gallery.images USING gin (search)",
)
# Under row-level security PostgreSQL uses no index for `@@`, which isn't declared to be leakproof: the policy must be
# looked at first. The view holds the policy's condition itself and is read with its owner's rights, whom the policy `search`
# lets pass; so a query that forgets its owner check still finds its own account's pictures only.
_VIEW = (
    "CREATE POLICY search ON gallery.images FOR SELECT TO CURRENT_USER USING (true)",
    """
    CREATE VIEW gallery.own_images AS SELECT * FROM gallery.images
        WHERE account_id = (SELECT NULLIF(current_setting('app.account_id', true), '')::uuid)
    """,
)
_BATCH = 1000


def upgrade() -> None:
    """Adds the columns, fills in what pictures are found by, and makes the indexes, the view and the privileges."""
    roles = migration_roles(op)
    op.execute(_COLUMNS)
    op.execute("ALTER TABLE gallery.images NO FORCE ROW LEVEL SECURITY")
    _fill_search()
    op.execute("ALTER TABLE gallery.images FORCE ROW LEVEL SECURITY")
    for statement in (*_INDEXES, *_VIEW):
        op.execute(statement)
    op.execute(f'GRANT UPDATE, DELETE ON gallery.images TO "{roles.requests}", "{roles.tasks}"')
    op.execute(f'GRANT SELECT ON gallery.own_images TO "{roles.requests}"')


def downgrade() -> None:
    """Drops everything that `upgrade` makes."""
    roles = migration_roles(op)
    op.execute("DROP VIEW gallery.own_images")
    op.execute("DROP POLICY search ON gallery.images")
    op.execute(f'REVOKE UPDATE ON gallery.images FROM "{roles.requests}", "{roles.tasks}"')
    op.execute(f'REVOKE DELETE ON gallery.images FROM "{roles.tasks}"')
    for name in ("newest_first", "starred", "rated", "of_model", "in_bin", "to_purge", "search"):
        op.execute(f"DROP INDEX gallery.images_{name}")
    op.execute("CREATE INDEX images_newest_first ON gallery.images (account_id, create_time, image_id)")
    op.execute(
        "ALTER TABLE gallery.images DROP COLUMN title, DROP COLUMN note, DROP COLUMN tags, DROP COLUMN rating, "
        "DROP COLUMN starred, DROP COLUMN delete_time, DROP COLUMN purge_time, DROP COLUMN search"
    )


def _fill_search() -> None:
    connection = op.get_bind()
    update = sa.text(
        "UPDATE gallery.images SET search = array_to_tsvector(:lexemes) WHERE image_id = :image_id"
    ).bindparams(sa.bindparam("lexemes", type_=sa.ARRAY(sa.Text)))
    rows = sa.text(
        "SELECT image_id, account_id, prompt FROM gallery.images WHERE search = '' ORDER BY image_id LIMIT :size"
    ).bindparams(size=_BATCH)
    while page := connection.execute(rows).all():
        connection.execute(
            update,
            [{"image_id": row.image_id, "lexemes": searched_for(row.account_id, [row.prompt], [])} for row in page],
        )
