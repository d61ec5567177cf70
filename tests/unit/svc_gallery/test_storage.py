"""When pictures that take more than a tier stores stop new work."""

from datetime import UTC, datetime, timedelta

import pytest

from svc_common.errors import Reason, ServiceError
from svc_gallery.domain.storage import WARNING, Overage, check_overage

SINCE = datetime(2026, 3, 1, 12, tzinfo=UTC)
OVERAGE = Overage(SINCE, image_bytes=3 * 1024**3, quota_bytes=1024**3)


def test_nothing_stops_before_the_warning_is_over() -> None:
    check_overage(None, SINCE)
    check_overage(OVERAGE, SINCE)
    check_overage(OVERAGE, SINCE + WARNING - timedelta(microseconds=1))


def test_refusal_says_what_is_stored_what_may_be_and_what_to_do() -> None:
    with pytest.raises(ServiceError) as refused:
        check_overage(OVERAGE, SINCE + timedelta(days=14))

    assert refused.value.reason is Reason.STORAGE_QUOTA_EXCEEDED
    assert refused.value.metadata == {
        "image_bytes": "3221225472",
        "quota_bytes": "1073741824",
        "overage_stop_time": "2026-03-15T12:00:00+00:00",
    }
    assert "take 3.00 GiB" in refused.value.message
    assert "stores 1.00 GiB" in refused.value.message
    assert "Delete pictures and empty the bin, or upgrade." in refused.value.message
