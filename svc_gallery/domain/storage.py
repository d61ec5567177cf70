"""Owns what happens to an account whose pictures take more than its tier stores, such as after a downgrade.

Nothing is deleted for it, and what is there can be read, taken out and deleted. After a warning of 14 days no new work is
taken, until the pictures fit again.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from svc_common.errors import Reason, ServiceError

WARNING: Final = timedelta(days=14)
"""How long after an overage was first seen jobs are still taken."""

_GIB: Final = 1024**3


@dataclass(frozen=True, slots=True)
class Overage:
    """Pictures that take more than the tier stores: since when that is known, and by how much they did at the last look."""

    since: datetime
    image_bytes: int
    quota_bytes: int

    @property
    def stop_time(self) -> datetime:
        """Tells from when on new work is refused."""
        return self.since + WARNING


def check_overage(overage: Overage | None, now: datetime) -> None:
    """Refuses new work of an account that was warned for long enough.

    Raises:
        ServiceError: STORAGE_QUOTA_EXCEEDED.
    """
    if overage is None or now < overage.stop_time:
        return
    raise ServiceError(
        Reason.STORAGE_QUOTA_EXCEEDED,
        f"Your pictures take {_gib(overage.image_bytes)} GiB with those in the bin, and your tier stores "
        f"{_gib(overage.quota_bytes)} GiB. That was so for more than {WARNING.days} days, so new jobs and uploads are refused; "
        "your pictures stay. Delete pictures and empty the bin, or upgrade.",
        metadata={
            "quota_bytes": str(overage.quota_bytes),
            "image_bytes": str(overage.image_bytes),
            "overage_stop_time": overage.stop_time.isoformat(timespec="seconds"),
        },
    )


def _gib(size_bytes: int) -> str:
    return f"{size_bytes / _GIB:,.2f}"
