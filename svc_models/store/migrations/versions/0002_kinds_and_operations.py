"""Adds what a model is (a checkpoint or a LoRA), which operations it has, and what upscaling costs.

Processes of the version before go on beside it: what they insert gets the defaults, which say what all models were then.

Revision ID: 0002
"""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_COLUMNS = (
    "ADD COLUMN kind text NOT NULL DEFAULT 'checkpoint' CHECK (kind IN ('checkpoint', 'lora'))",
    "ADD COLUMN operations text[] NOT NULL DEFAULT '{text_to_image}'",
    "ADD COLUMN upscale_millicredits_per_megapixel double precision NOT NULL DEFAULT 0",
)
# What only a checkpoint has was asked of every row.
_OLD_CHECKS = {
    "native_width_px": "native_width_px > 0",
    "native_height_px": "native_height_px > 0",
    "default_step_count": "default_step_count > 0",
    "schedulers": "cardinality(schedulers) > 0",
    "millicredits_per_megapixel_step": "millicredits_per_megapixel_step > 0",
}
_CHECKPOINT_CHECK = " AND ".join((*_OLD_CHECKS.values(), "cardinality(operations) > 0"))
_UPSCALE_CHECK = "upscale_millicredits_per_megapixel > 0 OR 'upscale' <> ALL (operations)"


def upgrade() -> None:
    """Adds the columns; the table has a row for each revision of a model, so that checking them all takes no time."""
    changes = [
        *_COLUMNS,
        *(f"DROP CONSTRAINT model_revisions_{column}_check" for column in _OLD_CHECKS),
        f"ADD CONSTRAINT model_revisions_checkpoint CHECK (kind <> 'checkpoint' OR ({_CHECKPOINT_CHECK}))",
        f"ADD CONSTRAINT model_revisions_upscale CHECK ({_UPSCALE_CHECK})",
        "ADD CONSTRAINT model_revisions_default_kind CHECK (kind = 'checkpoint' OR NOT is_default)",
    ]
    op.execute(f"ALTER TABLE models.model_revisions {', '.join(changes)}")


def downgrade() -> None:
    """Takes the columns away, and with them the LoRAs, which the version before would take for models."""
    op.execute("DELETE FROM models.model_revisions WHERE kind <> 'checkpoint'")
    changes = [
        "DROP COLUMN kind CASCADE",
        "DROP COLUMN operations CASCADE",
        "DROP COLUMN upscale_millicredits_per_megapixel CASCADE",
        *(f"ADD CONSTRAINT model_revisions_{column}_check CHECK ({check})" for column, check in _OLD_CHECKS.items()),
    ]
    op.execute(f"ALTER TABLE models.model_revisions {', '.join(changes)}")
