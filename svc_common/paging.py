"""Page tokens: opaque, signed, and good for the list and filter they were made for only."""

import base64
import binascii
import hashlib
import hmac
import json
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Final, Self, TypeVar
from uuid import UUID

from svc_common.errors import Reason, ServiceError

ItemT = TypeVar("ItemT")

DEFAULT_PAGE_SIZE: Final = 50
LARGEST_PAGE_SIZE: Final = 200

_SIGNATURE_BYTES: Final = 16


def moment_and_id(parts: Iterable[str]) -> tuple[datetime, UUID]:
    """Returns the key of a list that is sorted by a time and an id, from the parts of its token."""
    moment, item_id = parts
    return datetime.fromisoformat(moment), UUID(item_id)


def page_size(requested: int) -> int:
    """Returns how many items a page holds: 50 when the caller left it to us, and never more than 200."""
    return min(requested, LARGEST_PAGE_SIZE) if requested > 0 else DEFAULT_PAGE_SIZE


class PageTokens:
    """Encodes the key of the last item of a page. Signed, so that a caller can't page through what a filter excludes."""

    def __init__(self, key: bytes) -> None:
        """Takes a secret that all replicas of the service share."""
        self._key = key

    @classmethod
    def derived_from(cls, secret: bytes) -> Self:
        """Returns tokens signed with a key of their own, derived from a secret that the service has for another purpose."""
        return cls(hashlib.sha256(b"pingvas page tokens\0" + secret).digest())

    def encode(self, list_filter: str, *parts: str) -> str:
        """Returns the token that goes on after the sort key `parts`; `list_filter` names the list, its owner and its filter."""
        payload = json.dumps(parts, separators=(",", ":")).encode()
        return base64.urlsafe_b64encode(self._signature(list_filter, payload) + payload).rstrip(b"=").decode("ascii")

    def decode(self, token: str, list_filter: str) -> tuple[str, ...]:
        """Returns the parts of a token that was made for this `list_filter`; raises ServiceError PAGE_TOKEN_INVALID if not."""
        try:
            raw = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
        except (binascii.Error, ValueError):
            raise _invalid() from None
        signature, payload = raw[:_SIGNATURE_BYTES], raw[_SIGNATURE_BYTES:]
        if not hmac.compare_digest(signature, self._signature(list_filter, payload)):
            raise _invalid()
        return tuple(json.loads(payload))

    def cut(
        self, found: Sequence[ItemT], size: int, list_filter: str, key: Callable[[ItemT], Iterable[str]]
    ) -> tuple[Sequence[ItemT], str]:
        """Returns a page of `size` items and the token that leads to the next one, "" when there is none.

        `found` has one item more than the page where another page follows; `key` returns the sort key of an item.
        """
        page = found[:size]
        return page, self.encode(list_filter, *key(page[-1])) if len(found) > size else ""

    def _signature(self, list_filter: str, payload: bytes) -> bytes:
        # The length keeps filter and payload apart, whatever they contain.
        filter_bytes = list_filter.encode()
        message = len(filter_bytes).to_bytes(4, "big") + filter_bytes + payload
        return hmac.digest(self._key, message, "sha256")[:_SIGNATURE_BYTES]


def _invalid() -> ServiceError:
    return ServiceError(
        Reason.PAGE_TOKEN_INVALID,
        "The page token wasn't issued for this list and filter. Start again without it.",
        metadata={},
    )
