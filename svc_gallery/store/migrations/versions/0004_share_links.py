"""Creates the share links, with the policies that separate accounts and the one door for those who have a token.

Revision ID: 0004
Revises: 0003
"""

from alembic import op

from svc_common.db import migration_roles, rls_statements

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_TABLES = (
    """
    CREATE TABLE gallery.share_links (
        share_link_id uuid PRIMARY KEY,
        account_id uuid NOT NULL,
        created_by uuid NOT NULL,
        image_id uuid NOT NULL REFERENCES gallery.images (image_id) ON DELETE CASCADE,
        token_hash bytea NOT NULL UNIQUE CHECK (length(token_hash) = 32),
        request_id text,
        with_recipe boolean NOT NULL,
        expire_time timestamptz,
        view_limit integer NOT NULL CHECK (view_limit >= 0),
        view_count integer NOT NULL DEFAULT 0,
        create_time timestamptz NOT NULL
    )
    """,
    "CREATE UNIQUE INDEX share_links_request ON gallery.share_links (account_id, request_id) WHERE request_id IS NOT NULL",
    "CREATE INDEX share_links_of_image ON gallery.share_links (image_id, create_time)",
)

# Who opens a link has no account. This function is the only way from a token to the account whose rows the rest of the
# call may see: an exact match of its hash, and nothing but an id. It runs as the owner, whom FORCE ROW LEVEL SECURITY
# binds too unless it is a superuser; hence a reading policy for the owner. The fixed, empty search path keeps a caller from
# slipping another table under the name.
_DOOR = (
    "CREATE POLICY door ON gallery.share_links FOR SELECT TO CURRENT_USER USING (true)",
    """
    CREATE FUNCTION gallery.account_by_share_token(sought_hash bytea) RETURNS uuid
        LANGUAGE sql STABLE SECURITY DEFINER SET search_path = ''
        AS 'SELECT account_id FROM gallery.share_links WHERE token_hash = sought_hash'
    """,
    "REVOKE ALL ON FUNCTION gallery.account_by_share_token(bytea) FROM PUBLIC",
)


def upgrade() -> None:
    """Creates the table, the policies, the function and the privileges."""
    roles = migration_roles(op)
    for statement in (*_TABLES, *rls_statements("gallery", "share_links", roles.requests, roles.tasks), *_DOOR):
        op.execute(statement)
    op.execute(f'GRANT EXECUTE ON FUNCTION gallery.account_by_share_token(bytea) TO "{roles.requests}"')


def downgrade() -> None:
    """Drops everything that `upgrade` creates."""
    op.execute("DROP FUNCTION gallery.account_by_share_token(bytea)")
    op.execute("DROP TABLE gallery.share_links")
