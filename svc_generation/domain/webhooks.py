"""Outgoing webhooks: which events there are, when a failed delivery is tried again, and where none may go."""

import enum
import ipaddress
from collections.abc import Mapping
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Final, TypeAlias
from urllib.parse import urlsplit

from svc_common.errors import Reason, ServiceError

MOST_ENDPOINTS: Final = 20
"""Endpoints that an account may have."""
SECRET_OVERLAP: Final = timedelta(days=1)
"""How long deliveries are signed with a replaced secret as well."""
GIVEN_UP_AFTER: Final = timedelta(days=3)
"""An endpoint whose every delivery has failed for so long is disabled."""
KEPT_FOR: Final = timedelta(days=7)
"""How long a delivery can be seen and replayed."""

_RETRIES: Final = (
    timedelta(seconds=5),
    timedelta(minutes=1),
    timedelta(minutes=5),
    timedelta(minutes=30),
    timedelta(hours=2),
    timedelta(hours=5),
    timedelta(hours=8),
    timedelta(hours=8),
)
_GONE: Final = 410
_SUCCESS: Final = range(200, 300)

IpAddress: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address

# Networks whose addresses stand for an IPv4 address in their last 32 bits (NAT64, RFC 6052) or behind their first 16 (6to4).
_NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")
_LOCAL_NAT64: Final = ipaddress.IPv6Network("64:ff9b:1::/48")
_GLOBAL_UNICAST: Final = ipaddress.IPv6Network("2000::/3")
_IPV4_MASK: Final = 0xFFFFFFFF


class WebhookEvent(enum.IntEnum):
    """Names the events; the numbers are those of pingvas.generation.v1.WebhookEvent."""

    JOB_STARTED = 1
    JOB_PROGRESS = 2
    JOB_COMPLETED = 3
    JOB_FAILED = 4
    JOB_CANCELLED = 5
    TEST = 6
    CREDITS_LOW = 7


TYPE_NAMES: Final[Mapping[WebhookEvent, str]] = MappingProxyType(
    {
        WebhookEvent.JOB_STARTED: "job.started",
        WebhookEvent.JOB_PROGRESS: "job.progress",
        WebhookEvent.JOB_COMPLETED: "job.completed",
        WebhookEvent.JOB_FAILED: "job.failed",
        WebhookEvent.JOB_CANCELLED: "job.cancelled",
        WebhookEvent.TEST: "webhook.test",
        WebhookEvent.CREDITS_LOW: "credits.low",
    }
)
ENDS: Final = (WebhookEvent.JOB_COMPLETED, WebhookEvent.JOB_FAILED, WebhookEvent.JOB_CANCELLED)
"""What a job's own address gets where no events are named."""
_REPEATED: Final = frozenset(WebhookEvent) - {WebhookEvent.JOB_PROGRESS, WebhookEvent.TEST}


class DeliveryState(enum.IntEnum):
    """Names the states of a delivery; the numbers are those of pingvas.generation.v1.DeliveryState."""

    PENDING = 1
    DELIVERED = 2
    FAILED = 3


def is_accepted(http_status: int) -> bool:
    """Tells whether an answer accepts a delivery. A redirect doesn't: its target was not registered."""
    return http_status in _SUCCESS


def is_gone(http_status: int) -> bool:
    """Tells whether an answer asks for no more deliveries (410, as Standard Webhooks has it)."""
    return http_status == _GONE


def next_attempt(event: WebhookEvent, attempt_count: int, now: datetime) -> datetime | None:
    """Returns when a delivery that has failed so many times is tried again, or None when it is given up, after 24 hours."""
    if event not in _REPEATED or attempt_count > len(_RETRIES):
        return None
    return now + _RETRIES[attempt_count - 1]


def check_url(url: str, *, allows_private: bool, field: str = "url") -> None:
    """Checks what can be seen of an address without looking its name up; `field` is what the caller calls it.

    Raises:
        ServiceError: WEBHOOK_ADDRESS_REFUSED, with what to change.
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise _refused(field, "can't be read") from None
    if not url.isascii() or not url.isprintable() or " " in url:
        raise _refused(
            field, "must be of printable ASCII characters; write others percent-encoded, and the host in punycode"
        )
    if parts.scheme != "https" and not (allows_private and parts.scheme == "http"):
        raise _refused(field, "must begin with https://")
    if not host or port == 0:
        raise _refused(field, "must have a host")
    if parts.username is not None or parts.password is not None or parts.fragment:
        raise _refused(field, "may have no user, password or fragment")
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return
    if not (allows_private or is_public(address)):
        raise _refused(field, "must lead to a public host")


def is_public(address: IpAddress) -> bool:
    """Tells whether an address is one of the public internet: neither private, local, shared, reserved nor multicast.

    One that stands for an IPv4 address is as that.
    """
    if isinstance(address, ipaddress.IPv6Address):
        if address in _LOCAL_NAT64:
            return False
        inner = address.ipv4_mapped or address.sixtofour or (address.teredo[1] if address.teredo else None)
        if address in _NAT64:
            inner = ipaddress.IPv4Address(int(address) & _IPV4_MASK)
        if inner is not None:
            return is_public(inner)
        if address not in _GLOBAL_UNICAST:
            return False
    return address.is_global and not (address.is_multicast or address.is_reserved)


def _refused(field: str, rule: str) -> ServiceError:
    return ServiceError(Reason.WEBHOOK_ADDRESS_REFUSED, f"The webhook's url {rule}.", metadata={"field": field})
