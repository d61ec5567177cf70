"""Owns the rules that a deployment may tune: the tiers, their longest waits and the bounds of fairness.

Nothing else in the queue knows a tier by name. The order of the tiers and every number reach the scripts as constants.
"""

import re
from dataclasses import dataclass

from pingvas.vocabulary import Tier

_TIER_NAME = re.compile(r"[a-z][a-z0-9_]*")
_MINUTE_MS = 60_000


@dataclass(frozen=True, slots=True)
class TierPolicy:
    """One tier of the queue."""

    name: str
    max_wait_ms: int | None
    """The wait after which the starvation guard may serve a job before higher tiers; None: it ignores the tier."""

    def __post_init__(self) -> None:
        """Raises ValueError for a name that isn't safe inside a key, or a wait that isn't positive."""
        if not _TIER_NAME.fullmatch(self.name):
            raise ValueError(f"tier name {self.name!r} must be lower-case letters, digits and underscores")
        if self.max_wait_ms is not None and self.max_wait_ms <= 0:
            raise ValueError(f"tier {self.name}: the longest wait must be positive, not {self.max_wait_ms} ms")


DEFAULT_TIERS = (
    TierPolicy(Tier.ENTERPRISE.label, None),
    TierPolicy(Tier.STUDIO.label, 2 * _MINUTE_MS),
    TierPolicy(Tier.PRO.label, 5 * _MINUTE_MS),
    TierPolicy(Tier.STARTER.label, 10 * _MINUTE_MS),
    TierPolicy(Tier.FREE.label, 30 * _MINUTE_MS),
)


@dataclass(frozen=True, slots=True)
class QueuePolicy:
    """How the queue chooses the next job."""

    tiers: tuple[TierPolicy, ...] = DEFAULT_TIERS
    """Highest first."""
    guard_interval: int = 10
    """Every so many claims one serves the oldest job past its tier's longest wait: overdue tiers get at least, and cost
    the tiers above at most, this fraction of all claims."""
    affinity_window: int = 8
    """How many of the least-served accounts are looked at for a job whose model is loaded."""
    affinity_slack_millicredits: int = 10_000
    """How much more than the least-served an account may have had and still be preferred for its model. 10 GPU seconds
    is about what loading a large model from disk costs; beyond it the preference would cost more than it saves."""
    max_pass_overs: int = 3
    """How often a job may be passed over for a loaded model."""

    def __post_init__(self) -> None:
        """Raises ValueError for tiers that repeat or are absent, and for numbers out of range."""
        names = [tier.name for tier in self.tiers]
        if not names or len(set(names)) != len(names):
            raise ValueError(f"tiers must be distinct and at least one, not {names}")
        if min(self.guard_interval, self.affinity_window) < 1:
            raise ValueError("guard_interval and affinity_window must be at least 1")
        if min(self.affinity_slack_millicredits, self.max_pass_overs) < 0:
            raise ValueError("affinity_slack_millicredits and max_pass_overs must not be negative")

    @property
    def tier_names(self) -> tuple[str, ...]:
        """The names of the tiers, highest first."""
        return tuple(tier.name for tier in self.tiers)

    def lua_constants(self) -> str:
        """Returns the Lua source that declares this policy; 0 in MAX_WAIT_MS means that the guard ignores the tier."""
        names = ", ".join(f"'{tier.name}'" for tier in self.tiers)
        waits = ", ".join(str(tier.max_wait_ms or 0) for tier in self.tiers)
        return (
            f"local TIERS = {{{names}}}\n"
            f"local MAX_WAIT_MS = {{{waits}}}\n"
            f"local GUARD_INTERVAL = {self.guard_interval}\n"
            f"local AFFINITY_WINDOW = {self.affinity_window}\n"
            f"local AFFINITY_SLACK = {self.affinity_slack_millicredits}\n"
            f"local MAX_PASS_OVERS = {self.max_pass_overs}\n"
        )
