"""Tiers as people, queues and settings name them; the contract's enum is the list of them."""

from typing import Final

from pingvas.common.v1 import tier_pb2

_PREFIX: Final = "TIER_"


def tier_name(tier: int) -> str:
    """Returns the name of a tier, such as "free"; raises ValueError for a number that the contract hasn't."""
    return tier_pb2.Tier.Name(tier).removeprefix(_PREFIX).lower()  # type: ignore[arg-type]
