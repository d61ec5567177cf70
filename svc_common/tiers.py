"""What tiers reach, by the rule that all services apply; the tiers themselves are those of the contract."""

from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from pingvas.vocabulary import Tier

from svc_common.errors import Reason, ServiceError


@dataclass(frozen=True, slots=True)
class Reach:
    """Tells which models an account's tier reaches."""

    tier: Tier
    model_families: AbstractSet[str]

    def includes(self, family: str, minimum_tier: Tier) -> bool:
        """Tells whether a model of a family that asks for a tier is reached.

        Both must hold: the families are what a plan promises, the minimum tier holds a single model of such a family back.
        """
        return family in self.model_families and self.tier >= minimum_tier


def tier_name(tier: int) -> str:
    """Returns the name of a tier, such as "free"; raises ValueError for a number that the contract hasn't."""
    return Tier(tier).label


def model_not_in_tier(model_id: str, tier: Tier, minimum_tier: Tier) -> ServiceError:
    """Returns the refusal of a model that exists but isn't reached by the account's tier."""
    return ServiceError(
        Reason.MODEL_NOT_IN_TIER,
        f"The model {model_id} isn't part of the {tier.label} tier. Choose another model, or upgrade.",
        metadata={"model_id": model_id, "tier": tier.label, "minimum_tier": minimum_tier.label},
    )
