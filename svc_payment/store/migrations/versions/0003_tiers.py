"""Fills the tiers with the defaults of tiers.toml."""

from __future__ import annotations

import tomllib
from importlib.resources import files

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

TIERS = sa.table(
    "tiers",
    sa.column("tier", sa.Text),
    sa.column("running_jobs", sa.Integer),
    sa.column("waiting_jobs", sa.Integer),
    sa.column("model_families", sa.ARRAY(sa.Text)),
    sa.column("largest_side_px", sa.Integer),
    sa.column("images_per_job", sa.Integer),
    sa.column("step_count", sa.Integer),
    sa.column("storage_bytes", sa.BigInteger),
    sa.column("requests_per_second", sa.Integer),
    sa.column("request_burst", sa.Integer),
    schema="payment",
)


def upgrade() -> None:
    """Inserts one row a tier. A deployment that wants other limits updates the rows; they are read at each use."""
    defaults = tomllib.loads(files("svc_payment").joinpath("tiers.toml").read_text(encoding="utf-8"))
    # The file has limits as well whose columns come later.
    known = set(TIERS.c.keys())
    rows = [{"tier": tier, **{name: limits[name] for name in known & set(limits)}} for tier, limits in defaults.items()]
    op.bulk_insert(TIERS, rows)


def downgrade() -> None:
    """Removes the rows."""
    op.execute("DELETE FROM payment.tiers")
