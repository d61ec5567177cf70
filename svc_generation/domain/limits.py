"""Fills in what a request leaves out, and checks it against the model and the tier."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from svc_common.errors import FieldViolation, Reason, ServiceError


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """Holds what the checks need to know of a model."""

    model_id: str
    family: str
    minimum_tier: int
    """Number of pingvas.common.v1.Tier; tiers are ordered by it."""
    native_width_px: int
    native_height_px: int
    default_step_count: int
    default_guidance_scale: float
    schedulers: Sequence[str]


@dataclass(frozen=True, slots=True)
class TierFacts:
    """Holds what the checks need to know of an account's tier."""

    tier: int
    tier_name: str
    model_families: frozenset[str]
    largest_side_px: int
    images_per_job: int
    step_count: int
    waiting_jobs: int
    running_jobs: int


@dataclass(frozen=True, slots=True)
class Picture:
    """Holds the parameters of a request in which 0, None or "" mean that the model's default is wanted."""

    width_px: int
    height_px: int
    step_count: int
    image_count: int
    guidance_scale: float | None
    scheduler: str


def with_defaults(wish: Picture, model: ModelFacts) -> Picture:
    """Fills in the model's defaults."""
    return Picture(
        width_px=wish.width_px or model.native_width_px,
        height_px=wish.height_px or model.native_height_px,
        step_count=wish.step_count or model.default_step_count,
        image_count=wish.image_count or 1,
        guidance_scale=model.default_guidance_scale if wish.guidance_scale is None else wish.guidance_scale,
        scheduler=wish.scheduler or model.schedulers[0],
    )


def check_model(model: ModelFacts, tier: TierFacts, minimum_tier_name: str) -> None:
    """Refuses a model that the tier doesn't reach.

    Raises:
        ServiceError: MODEL_NOT_IN_TIER.
    """
    if model.family in tier.model_families and tier.tier >= model.minimum_tier:
        return
    raise ServiceError(
        Reason.MODEL_NOT_IN_TIER,
        f"The model {model.model_id} isn't part of the {tier.tier_name} tier. Choose another model, or upgrade.",
        metadata={"model_id": model.model_id, "tier": tier.tier_name, "minimum_tier": minimum_tier_name},
    )


def check_scheduler(picture: Picture, model: ModelFacts, prefix: str) -> None:
    """Refuses a scheduler that the model doesn't have.

    Raises:
        ServiceError: INVALID_FIELD with the field's path.
    """
    if picture.scheduler in model.schedulers:
        return
    known = ", ".join(model.schedulers)
    violation = FieldViolation(f"{prefix}.scheduler", f"must be one of {known} for the model {model.model_id}")
    raise ServiceError(Reason.INVALID_FIELD, f"{violation.field} {violation.description}.", violations=(violation,))


def check_tier(picture: Picture, tier: TierFacts, prefix: str) -> None:
    """Refuses a picture that is larger or longer than the tier allows, naming every field that is.

    Raises:
        ServiceError: TIER_LIMIT_EXCEEDED; metadata describes the first of them.
    """
    broken = list(_above_tier(picture, tier))
    if not broken:
        return
    violations = tuple(
        FieldViolation(f"{prefix}.{field}", f"is {value}, but the {tier.tier_name} tier allows at most {limit}")
        for field, value, limit in broken
    )
    field, _, limit = broken[0]
    raise ServiceError(
        Reason.TIER_LIMIT_EXCEEDED,
        "; ".join(f"{v.field} {v.description}" for v in violations) + ". Lower it, or upgrade.",
        metadata={"tier": tier.tier_name, "limit": str(limit), "field": f"{prefix}.{field}"},
        violations=violations,
    )


def _above_tier(picture: Picture, tier: TierFacts) -> Iterator[tuple[str, int, int]]:
    rows = (
        ("width_px", picture.width_px, tier.largest_side_px),
        ("height_px", picture.height_px, tier.largest_side_px),
        ("step_count", picture.step_count, tier.step_count),
        ("image_count", picture.image_count, tier.images_per_job),
    )
    return (row for row in rows if row[1] > row[2])
