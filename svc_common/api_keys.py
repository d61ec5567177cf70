"""The limits of an API key, as they stand in its access tokens: svc_user writes them, whoever is to keep to them reads them.

They travel with the token so that no call needs a look-up; a change counts when the token is replaced, within a minute.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self


@dataclass(frozen=True, slots=True)
class KeyLimits:
    """Holds what an API key may be used for at most. Days and months are those of UTC."""

    api_key_id: str
    day_millicredits: int | None = None
    """What its jobs may cost in a day; None: no limit."""
    month_millicredits: int | None = None
    model_ids: frozenset[str] = frozenset()
    """The models that its jobs may use; empty: all."""
    largest_side_px: int | None = None

    def to_claim(self) -> dict[str, Any]:
        """Returns the value of a token's claim; what isn't limited is left out."""
        limits = {
            "day": self.day_millicredits,
            "month": self.month_millicredits,
            "models": sorted(self.model_ids) or None,
            "side": self.largest_side_px,
        }
        return {"id": self.api_key_id} | {name: limit for name, limit in limits.items() if limit is not None}

    @classmethod
    def from_claim(cls, claim: Mapping[str, Any]) -> Self:
        """Reads the value of a token's claim. Raises KeyError and TypeError for what isn't one."""
        return cls(
            str(claim["id"]),
            claim.get("day"),
            claim.get("month"),
            frozenset(claim.get("models", ())),
            claim.get("side"),
        )
