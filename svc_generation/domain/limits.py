"""Fills in what a request leaves out, and checks it against the model and the tier."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from pingvas.vocabulary import Operation as OperationKind
from pingvas.vocabulary import Tier

from svc_common.api_keys import KeyLimits
from svc_common.credits import format_credits
from svc_common.errors import FieldViolation, Reason, ServiceError, invalid_field
from svc_common.own_models import own_loras_not_in_tier
from svc_common.tiers import Reach, model_not_in_tier
from svc_generation.domain.sizes import LARGEST_UPSCALED_PIXELS, LARGEST_UPSCALED_SIDE_PX, Size

LARGEST_SEED: Final = 2**53 - 1
"""JSON clients hold integers exactly up to this."""
MOST_IMAGES: Final = 8
"""As many as the contract lets a job ask for."""
MOST_LORAS: Final = 8
"""As many as the contract lets a job have."""
LARGEST_DRAWN_SEED: Final = LARGEST_SEED - (MOST_IMAGES - 1)
"""The largest seed to draw for a request that names none: each picture of the job has a seed that the API takes."""


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """Holds what the checks need to know of a model."""

    model_id: str
    family: str
    minimum_tier: Tier
    native_width_px: int
    native_height_px: int
    default_step_count: int
    default_guidance_scale: float
    schedulers: Sequence[str]
    operations: frozenset[OperationKind] = frozenset({OperationKind.TEXT_TO_IMAGE})
    """Is empty for a LoRA."""
    is_lora: bool = False
    is_own: bool = False
    """Whether it is a LoRA of the account's own."""

    @property
    def native_size(self) -> Size:
        """The size that the model was made for."""
        return Size(self.native_width_px, self.native_height_px)


@dataclass(frozen=True, slots=True)
class TierFacts:
    """Holds what the checks need to know of an account's tier."""

    reach: Reach
    largest_side_px: int
    images_per_job: int
    step_count: int
    waiting_jobs: int
    running_jobs: int
    is_suspended: bool = False
    own_loras: int = 0
    """How many LoRAs of its own an account may have."""

    @property
    def tier(self) -> Tier:
        """The tier itself."""
        return self.reach.tier

    @property
    def tier_name(self) -> str:
        """Its name, as the queue and metadata of errors have it."""
        return self.reach.tier.label


@dataclass(frozen=True, slots=True)
class Picture:
    """Holds the parameters of a request in which 0, None or "" mean that the model's default is wanted."""

    width_px: int
    height_px: int
    step_count: int
    image_count: int
    guidance_scale: float | None
    scheduler: str


def with_defaults(wish: Picture, model: ModelFacts, size: Size) -> Picture:
    """Fills in the model's defaults, and those sides that the request leaves to the platform."""
    return Picture(
        width_px=wish.width_px or size.width_px,
        height_px=wish.height_px or size.height_px,
        step_count=wish.step_count or model.default_step_count,
        image_count=wish.image_count or 1,
        guidance_scale=model.default_guidance_scale if wish.guidance_scale is None else wish.guidance_scale,
        scheduler=wish.scheduler or model.schedulers[0],
    )


def check_standing(tier: TierFacts) -> None:
    """Refuses new work of an account whose payment is overdue.

    Raises:
        ServiceError: PAYMENT_OVERDUE.
    """
    if tier.is_suspended:
        raise ServiceError(
            Reason.PAYMENT_OVERDUE,
            "A payment for your plan failed more than 72 hours ago, or the plan is paused. Pay it on the page of the "
            "payment provider; jobs are accepted again at once.",
        )


def check_model(model: ModelFacts, tier: TierFacts) -> None:
    """Refuses a model that the tier doesn't reach.

    Raises:
        ServiceError: MODEL_NOT_IN_TIER, LORA_LIMIT_REACHED.
    """
    if model.is_own and not tier.own_loras:
        raise own_loras_not_in_tier(tier.tier_name)
    if not tier.reach.includes(model.family, model.minimum_tier):
        raise model_not_in_tier(model.model_id, tier.tier, model.minimum_tier)


def check_operation(model: ModelFacts, kind: OperationKind) -> None:
    """Refuses an operation that the model hasn't; a LoRA has none.

    Raises:
        ServiceError: OPERATION_UNSUPPORTED.
    """
    if kind in model.operations:
        return
    known = ", ".join(each for each in OperationKind if each in model.operations)
    what = f"has {known}" if known else "is a LoRA, which is named among `loras`"
    raise ServiceError(
        Reason.OPERATION_UNSUPPORTED,
        f"The model {model.model_id} {what}, not {kind}. Choose a model that has {kind}.",
        metadata={"model_id": model.model_id, "operation": kind, "operations": known},
    )


def check_lora(lora: ModelFacts, model: ModelFacts, field: str) -> None:
    """Refuses a LoRA that is none, or that is made for another family.

    Raises:
        ServiceError: LORA_INCOMPATIBLE with the field's path.
    """
    if lora.is_lora and lora.family == model.family:
        return
    description = f"must be a LoRA for the family {model.family}, but {lora.model_id} is " + (
        f"one for {lora.family}" if lora.is_lora else "a whole model"
    )
    raise ServiceError(
        Reason.LORA_INCOMPATIBLE,
        f"{field} {description}.",
        metadata={"model_id": lora.model_id, "family": lora.family, "wanted_family": model.family},
        violations=(FieldViolation(field, description),),
    )


def check_loras_distinct(model_ids: Sequence[str], fields: Sequence[str]) -> None:
    """Refuses a LoRA that is named twice: its weight would be either of the two. `fields` tells where each is named.

    Raises:
        ServiceError: INVALID_FIELD with the path of each repetition.
    """
    repeated = [index for index, model_id in enumerate(model_ids) if model_id in model_ids[:index]]
    if repeated:
        violations = [FieldViolation(fields[i], f"names {model_ids[i]}, which is named before") for i in repeated]
        raise ServiceError(Reason.INVALID_FIELD, "A LoRA is named twice; name each once.", violations=violations)


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
    _check_measures(
        [
            _Measure(f"{prefix}.width_px", picture.width_px, tier.largest_side_px),
            _Measure(f"{prefix}.height_px", picture.height_px, tier.largest_side_px),
            _Measure(f"{prefix}.step_count", picture.step_count, tier.step_count),
            _Measure(f"{prefix}.image_count", picture.image_count, tier.images_per_job),
        ],
        tier,
    )


def check_seed(seed: int, image_count: int, prefix: str) -> None:
    """Refuses a seed from which the last picture of the job would get one that the API doesn't take.

    Raises:
        ServiceError: INVALID_FIELD with the field's path.
    """
    largest = LARGEST_SEED - (image_count - 1)
    if seed > largest:
        raise invalid_field(
            f"{prefix}.seed",
            f"must be at most {largest} for {image_count} pictures: picture i has seed + i, and {LARGEST_SEED} (2^53 - 1) "
            "is the largest seed",
        )


def check_upscale(source: Size, scale_factor: int, step_count: int, tier: TierFacts, prefix: str) -> None:
    """Refuses to upscale a picture beyond what the tier allows, or into one that is too large for anybody.

    Raises:
        ServiceError: TIER_LIMIT_EXCEEDED, or INVALID_FIELD for the factor.
    """
    _check_measures(
        [
            _Measure(f"{prefix}.source", source.longest_px, tier.largest_side_px),
            _Measure(f"{prefix}.step_count", step_count, tier.step_count),
        ],
        tier,
    )
    result = source.times(scale_factor)
    if result.longest_px > LARGEST_UPSCALED_SIDE_PX or result.pixels > LARGEST_UPSCALED_PIXELS:
        raise invalid_field(
            f"{prefix}.scale_factor",
            f"makes {result.width_px} x {result.height_px} pixels, but a side may have {LARGEST_UPSCALED_SIDE_PX} "
            f"and the picture {LARGEST_UPSCALED_PIXELS // 1_000_000} megapixels",
        )


def check_key(key: KeyLimits, model_id: str, size: Size) -> None:
    """Refuses a job that makes pictures of a size with a model, if the API key that asks for it isn't for such jobs.

    Raises:
        ServiceError: API_KEY_LIMIT_EXCEEDED.
    """
    if key.model_ids and model_id not in key.model_ids:
        allowed = ", ".join(sorted(key.model_ids))
        raise _beyond_key(key, "model_ids", allowed, f"may use {allowed}, not {model_id}. Choose one of these models")
    if key.largest_side_px is not None and size.longest_px > key.largest_side_px:
        allowed = str(key.largest_side_px)
        message = f"makes pictures of at most {allowed} pixels a side, not {size.longest_px}. Ask for a smaller one"
        raise _beyond_key(key, "largest_side_px", allowed, message)


def check_spending(key: KeyLimits, spent_in_day: int, spent_in_month: int, held: int) -> None:
    """Refuses a job for which an amount would be held, if its API key may not spend that much more.

    Raises:
        ServiceError: API_KEY_LIMIT_EXCEEDED.
    """
    for period, limit, spent in (
        ("day", key.day_millicredits, spent_in_day),
        ("month", key.month_millicredits, spent_in_month),
    ):
        if limit is not None and spent + held > limit:
            raise key_spent(key, period, limit, held)


def key_spent(key: KeyLimits, period: str, limit: int, held: int) -> ServiceError:
    """Returns the refusal of a job that would be too much for a day or a month."""
    allowed = format_credits(limit)
    message = (
        f"may spend {allowed} credits a {period}, which doesn't cover the {format_credits(held)} that this job holds. "
    )
    return _beyond_key(key, f"credits_a_{period}", allowed, f"{message}Wait for the next {period} of UTC")


def _beyond_key(key: KeyLimits, limit: str, allowed: str, message: str) -> ServiceError:
    return ServiceError(
        Reason.API_KEY_LIMIT_EXCEEDED,
        f"The API key {key.api_key_id} {message}, or let its owner change the key's limits.",
        metadata={"api_key_id": key.api_key_id, "limit": limit, "allowed": allowed},
    )


@dataclass(frozen=True, slots=True)
class _Measure:
    field: str
    value: int
    limit: int


def _check_measures(measures: Sequence[_Measure], tier: TierFacts) -> None:
    broken = [measure for measure in measures if measure.value > measure.limit]
    if not broken:
        return
    violations = tuple(
        FieldViolation(m.field, f"is {m.value}, but the {tier.tier_name} tier allows at most {m.limit}") for m in broken
    )
    raise ServiceError(
        Reason.TIER_LIMIT_EXCEEDED,
        "; ".join(f"{v.field} {v.description}" for v in violations) + ". Lower it, or upgrade.",
        metadata={"tier": tier.tier_name, "limit": str(broken[0].limit), "field": broken[0].field},
        violations=violations,
    )
