"""What a job is expected to cost, and how much is set aside for it. Amounts are millicredits (1/1000 credit)."""

import math
from dataclasses import dataclass
from typing import Final

from svc_generation.domain.sizes import Size

HOLD_FACTOR: Final = 1.5
"""How much more than the quote is set aside, since GPUs differ and the settlement never exceeds the hold."""


@dataclass(frozen=True, slots=True)
class ModelCost:
    """Holds a model's measured cost."""

    per_megapixel_step_millicredits: float
    fixed_millicredits: int
    upscale_per_megapixel_millicredits: float = 0.0


@dataclass(frozen=True, slots=True)
class Work:
    """Holds the size of a job that denoises; the steps are those that run."""

    width_px: int
    height_px: int
    step_count: int
    image_count: int


def steps_that_run(step_count: int, strength: float) -> int:
    """Computes how many steps run on a source: as diffusers counts in `get_timesteps`, but at least one."""
    return max(1, min(int(step_count * strength), step_count))


def quote_millicredits(cost: ModelCost, work: Work) -> int:
    """Computes the expected cost: measured cost a megapixel-step x megapixels x steps x images + the fixed part."""
    megapixel_steps = work.width_px * work.height_px / 1e6 * work.step_count * work.image_count
    return _rounded(cost, cost.per_megapixel_step_millicredits * megapixel_steps)


def quote_upscale_millicredits(cost: ModelCost, result: Size) -> int:
    """Computes the expected cost of an upscaling: measured cost a megapixel x megapixels of the result + the fixed part."""
    return _rounded(cost, cost.upscale_per_megapixel_millicredits * result.pixels / 1e6)


def hold_millicredits(quote: int) -> int:
    """Computes what is set aside for a quote, if the balance allows."""
    return math.ceil(quote * HOLD_FACTOR)


def _rounded(cost: ModelCost, measured: float) -> int:
    """Adds the fixed part; never nothing, which payment couldn't hold."""
    return max(1, math.ceil(measured) + cost.fixed_millicredits)
