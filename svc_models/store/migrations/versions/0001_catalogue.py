"""Creates the catalogue, with what each role may do to it.

Revision ID: 0001
"""

from alembic import op

from svc_common.db import migration_roles

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

# The two partial indexes let the database itself see to it that a model has one served revision and requests without a
# model one answer.
_TABLES = (
    """
    CREATE TABLE models.model_revisions (
        model_id text NOT NULL,
        revision text NOT NULL,
        is_served boolean NOT NULL,
        is_default boolean NOT NULL CHECK (is_served OR NOT is_default),
        display_name text NOT NULL,
        family text NOT NULL,
        licence text NOT NULL,
        minimum_tier text NOT NULL CHECK (minimum_tier IN ('free', 'starter', 'pro', 'studio', 'enterprise')),
        native_width_px integer NOT NULL CHECK (native_width_px > 0),
        native_height_px integer NOT NULL CHECK (native_height_px > 0),
        default_step_count integer NOT NULL CHECK (default_step_count > 0),
        default_guidance_scale double precision NOT NULL,
        schedulers text[] NOT NULL CHECK (cardinality(schedulers) > 0),
        files jsonb NOT NULL,
        millicredits_per_megapixel_step double precision NOT NULL CHECK (millicredits_per_megapixel_step > 0),
        fixed_millicredits bigint NOT NULL CHECK (fixed_millicredits >= 0),
        create_time timestamptz NOT NULL,
        PRIMARY KEY (model_id, revision)
    )
    """,
    "CREATE UNIQUE INDEX model_revisions_served ON models.model_revisions (model_id) WHERE is_served",
    "CREATE UNIQUE INDEX model_revisions_default ON models.model_revisions (is_default) WHERE is_default",
)


def upgrade() -> None:
    """Creates the table and the privileges: requests read, and only tasks write."""
    roles = migration_roles(op)
    for statement in _TABLES:
        op.execute(statement)
    op.execute(f'GRANT SELECT ON models.model_revisions TO "{roles.requests}"')
    op.execute(f'GRANT SELECT, INSERT, UPDATE ON models.model_revisions TO "{roles.tasks}"')


def downgrade() -> None:
    """Drops everything that `upgrade` creates."""
    op.execute("DROP TABLE models.model_revisions")
