"""Owns who reaches a model, and the refusals of those who don't.

What a tier reaches is told by payment; asking it is left to the servicer.
"""

import enum
from dataclasses import dataclass
from typing import Self

from svc_common.errors import Reason, ServiceError


class Tier(enum.IntEnum):
    """Names the tiers in their order; the numbers are those of the contract's enum."""

    FREE = 1
    STARTER = 2
    PRO = 3
    STUDIO = 4
    ENTERPRISE = 5

    @classmethod
    def of(cls, name: str) -> Self:
        """Returns the tier with a lower-case name; raises ValueError for any other text."""
        for tier in cls:
            if tier.label == name:
                return tier
        raise ValueError(f"{name!r} is none of the tiers {', '.join(tier.label for tier in cls)}")

    @property
    def label(self) -> str:
        """The lower-case name, as manifests, rows and metadata of errors have it."""
        return self.name.lower()


@dataclass(frozen=True, slots=True)
class Reach:
    """Tells what an account's tier reaches."""

    tier: Tier
    model_families: frozenset[str]

    def includes(self, family: str, minimum_tier: Tier) -> bool:
        """Tells whether a model of `family` that asks for `minimum_tier` is reached.

        Both must hold: the families are what a plan promises, the minimum tier holds a single model of such a family
        back.
        """
        return family in self.model_families and self.tier >= minimum_tier


def model_not_found(model_id: str) -> ServiceError:
    """Returns the refusal of a model that the catalogue doesn't have; an empty id asked for the default model."""
    if not model_id:
        message = "The catalogue has no models yet; put one into a folder that CATALOGUE_DIRS names."
        return ServiceError(Reason.MODEL_NOT_FOUND, message, metadata={"model_id": ""})
    message = f"There is no model {model_id!r}; ListModels shows what there is."
    return ServiceError(Reason.MODEL_NOT_FOUND, message, metadata={"model_id": model_id})


def model_not_in_tier(model_id: str, tier: Tier, minimum_tier: Tier) -> ServiceError:
    """Returns the refusal of a model that exists but isn't reached by the account's tier."""
    return ServiceError(
        Reason.MODEL_NOT_IN_TIER,
        f"The model {model_id!r} isn't part of the tier {tier.label}; choose another, or upgrade.",
        metadata={"model_id": model_id, "tier": tier.label, "minimum_tier": minimum_tier.label},
    )
