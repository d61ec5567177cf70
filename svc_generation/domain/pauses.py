"""Which tiers an administrator has paused, and which waits that has drawn out."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Self


@dataclass(frozen=True, slots=True)
class TierPause:
    """The latest pause of a tier."""

    tier: int
    pause_time: datetime
    resume_time: datetime | None
    """When it was resumed; None: it is paused."""
    reason: str


@dataclass(frozen=True, slots=True)
class Pauses:
    """The latest pause of each tier that ever had one."""

    by_tier: dict[int, TierPause]

    @classmethod
    def of(cls, pauses: Iterable[TierPause]) -> Self:
        """Returns the pauses by tier."""
        return cls({pause.tier: pause for pause in pauses})

    def present(self, tier: int) -> TierPause | None:
        """Returns the pause that a tier is in."""
        pause = self.by_tier.get(tier)
        return pause if pause is not None and pause.resume_time is None else None

    def paused_tiers(self) -> set[int]:
        """Returns the tiers that are paused."""
        return {tier for tier in self.by_tier if self.present(tier)}

    def held_up(self, tier: int, create_time: datetime) -> bool:
        """Tells whether a job that starts now has waited through a part of a pause, so that its wait tells nothing."""
        pause = self.by_tier.get(tier)
        return pause is not None and (pause.resume_time is None or create_time < pause.resume_time)
