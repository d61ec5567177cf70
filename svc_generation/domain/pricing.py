"""What a job is expected to cost, and how much is set aside for it. Amounts are millicredits (1/1000 credit)."""

import math
from dataclasses import dataclass

HOLD_FACTOR = 1.5
"""How much more than the quote is set aside, since GPUs differ and the settlement never exceeds the hold."""


@dataclass(frozen=True, slots=True)
class ModelCost:
    """Holds a model's measured cost."""

    per_megapixel_step_millicredits: float
    fixed_millicredits: int


@dataclass(frozen=True, slots=True)
class Work:
    """Holds the size of a job."""

    width_px: int
    height_px: int
    step_count: int
    image_count: int


def quote_millicredits(cost: ModelCost, work: Work) -> int:
    """Computes the expected cost: measured cost a megapixel-step x megapixels x steps x images + the fixed part."""
    megapixel_steps = work.width_px * work.height_px / 1e6 * work.step_count * work.image_count
    return max(1, math.ceil(cost.per_megapixel_step_millicredits * megapixel_steps) + cost.fixed_millicredits)


def hold_millicredits(quote: int) -> int:
    """Computes what is set aside for a quote, if the balance allows."""
    return math.ceil(quote * HOLD_FACTOR)
