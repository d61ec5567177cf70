"""Adds how many LoRAs of its own an account of each tier may have, as tiers.toml says.

Processes of the version before go on beside it: they read columns by name and don't know this one.
"""

from __future__ import annotations

import tomllib
from importlib.resources import files

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

_TIERS = sa.table("tiers", sa.column("tier", sa.Text), sa.column("own_loras", sa.Integer), schema="payment")


def upgrade() -> None:
    """Adds the column, and fills it for the tiers that the file knows."""
    op.execute("ALTER TABLE payment.tiers ADD COLUMN own_loras integer NOT NULL DEFAULT 0 CHECK (own_loras >= 0)")
    defaults = tomllib.loads(files("svc_payment").joinpath("tiers.toml").read_text(encoding="utf-8"))
    for tier, limits in defaults.items():
        op.execute(sa.update(_TIERS).where(_TIERS.c.tier == tier).values(own_loras=limits["own_loras"]))


def downgrade() -> None:
    """Drops the column."""
    op.execute("ALTER TABLE payment.tiers DROP COLUMN own_loras")
