"""Creates the boards and what lies on them, with the policies that separate accounts.

Revision ID: 0007
Revises: 0006
"""

from alembic import op

from svc_common.db import migration_roles, rls_statements

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

_TABLES = (
    """
    CREATE TABLE gallery.boards (
        board_id uuid PRIMARY KEY,
        account_id uuid NOT NULL,
        created_by uuid NOT NULL,
        request_id text,
        request_hash bytea NOT NULL CHECK (length(request_hash) = 32),
        name text NOT NULL CHECK (name <> ''),
        parent_board_id uuid REFERENCES gallery.boards (board_id) CHECK (parent_board_id <> board_id),
        cover_image_id uuid REFERENCES gallery.images (image_id) ON DELETE SET NULL,
        archived boolean NOT NULL DEFAULT false,
        create_time timestamptz NOT NULL,
        update_time timestamptz NOT NULL
    )
    """,
    "CREATE UNIQUE INDEX boards_request ON gallery.boards (account_id, request_id) WHERE request_id IS NOT NULL",
    "CREATE INDEX boards_of_account ON gallery.boards (account_id, create_time, board_id)",
    # For the foreign keys, which look for what refers to a row that goes.
    "CREATE INDEX boards_inside ON gallery.boards (parent_board_id) WHERE parent_board_id IS NOT NULL",
    "CREATE INDEX boards_with_cover ON gallery.boards (cover_image_id) WHERE cover_image_id IS NOT NULL",
    # The picture's time, which never changes, stands here once more: an index can't be in the order of another table.
    """
    CREATE TABLE gallery.board_images (
        board_id uuid NOT NULL REFERENCES gallery.boards (board_id) ON DELETE CASCADE,
        image_id uuid NOT NULL REFERENCES gallery.images (image_id) ON DELETE CASCADE,
        account_id uuid NOT NULL,
        image_create_time timestamptz NOT NULL,
        PRIMARY KEY (board_id, image_id)
    )
    """,
    """
    CREATE INDEX board_images_newest_first
        ON gallery.board_images (account_id, board_id, image_create_time, image_id)
    """,
    "CREATE INDEX board_images_of_image ON gallery.board_images (image_id)",
)


def upgrade() -> None:
    """Creates the tables, the policies and the privileges."""
    roles = migration_roles(op)
    for statement in _TABLES:
        op.execute(statement)
    for table in ("boards", "board_images"):
        for statement in rls_statements("gallery", table, roles.requests, roles.tasks):
            op.execute(statement)


def downgrade() -> None:
    """Drops everything that `upgrade` creates."""
    op.execute("DROP TABLE gallery.board_images")
    op.execute("DROP TABLE gallery.boards")
