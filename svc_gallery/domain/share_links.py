"""Owns the secrets of share links, how many of them a picture may have, and what a link without the recipe leads to."""

import base64
import hashlib
import hmac
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Self
from uuid import UUID

from svc_common.errors import Reason, ServiceError, invalid_field

LINKS_OF_AN_IMAGE: Final = 20
SHARED_URL_LIFETIME: Final = timedelta(minutes=1)
"""How long the addresses that a link leads to work: a link that is taken back shows nothing more than a minute later."""

PASSWORDS_IN_A_SPAN: Final = 10
PASSWORD_SPAN: Final = timedelta(minutes=15)
"""Ten in 15 minutes are a thousand a day: a password of six digits holds for years."""

_TOKEN_BYTES: Final = 16
_PNG_SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
_TELLING_CHUNKS: Final = frozenset({b"tEXt", b"zTXt", b"iTXt", b"eXIf"})
"""Everything that may hold words; the other chunks say how the pixels look."""


class ShareTokens:
    """Makes the secret of a link from its id, so that it can be told again though only its hash is kept."""

    def __init__(self, key: bytes) -> None:
        """Takes a secret that all replicas of the service share."""
        self._key = key

    @classmethod
    def derived_from(cls, secret: bytes) -> Self:
        """Returns tokens made with a key of their own, derived from a secret that the service has for another purpose."""
        return cls(hashlib.sha256(b"pingvas share links\0" + secret).digest())

    def token_of(self, share_link_id: UUID) -> str:
        """Returns the secret of a link: 128 bits, as 22 characters of base64url."""
        digest = hmac.digest(self._key, share_link_id.bytes, "sha256")[:_TOKEN_BYTES]
        return base64.urlsafe_b64encode(digest).rstrip(b"=").decode("ascii")

    def told_again(self, share_link_id: UUID, kept_hash: bytes) -> str:
        """Returns the secret of a link whose hash was kept, or "" when it was made with another key."""
        token = self.token_of(share_link_id)
        return token if hmac.compare_digest(hash_of(token), kept_hash) else ""


@dataclass(frozen=True, slots=True)
class Terms:
    """What a link shows, how long, and how often."""

    with_recipe: bool
    expire_time: datetime | None
    view_limit: int
    """0: as often as people like."""
    no_download: bool = False
    """Whether it shows the thumbnail only."""


def hash_of(token: str) -> bytes:
    """Returns what is kept of a token. It has 128 bits, so no slow hash is needed against guessing."""
    return hashlib.sha256(token.encode()).digest()


def check_terms(terms: Terms, now: datetime) -> None:
    """Refuses a link that would have ended before it began.

    Raises:
        ServiceError: INVALID_FIELD.
    """
    if terms.expire_time is not None and terms.expire_time <= now:
        raise invalid_field("expire_time", "must be in the future")


def check_link_room(link_count: int) -> None:
    """Refuses one link more than a picture may have.

    Raises:
        ServiceError: TOO_MANY_SHARE_LINKS.
    """
    if link_count >= LINKS_OF_AN_IMAGE:
        raise ServiceError(
            Reason.TOO_MANY_SHARE_LINKS,
            f"The picture has {LINKS_OF_AN_IMAGE} links already. Revoke one, those that have ended included.",
            metadata={"limit": str(LINKS_OF_AN_IMAGE)},
        )


def share_link_not_found() -> ServiceError:
    """Returns the answer for a link that shows nothing, or nothing any more: the reasons can't be told apart."""
    return ServiceError(
        Reason.SHARE_LINK_NOT_FOUND,
        "This link shows nothing, or nothing any more. Ask who gave it to you for a new one.",
    )


def share_password_required() -> ServiceError:
    """Returns the answer for a link that asks for a password."""
    return ServiceError(
        Reason.SHARE_PASSWORD_REQUIRED, "This link asks for a password. Call UnlockSharedImage with it."
    )


def share_password_wrong() -> ServiceError:
    """Returns the answer for a password that isn't the link's."""
    return ServiceError(
        Reason.SHARE_PASSWORD_WRONG, "The password isn't that of this link. Ask who gave it to you for the password."
    )


def too_many_passwords(failed_since: datetime, now: datetime) -> ServiceError:
    """Returns the answer for a password that comes after ten others."""
    return ServiceError(
        Reason.RATE_LIMITED,
        f"{PASSWORDS_IN_A_SPAN} passwords were tried for this link. Wait, then try again.",
        metadata={"scope": "share_link"},
        retry_after=max(failed_since + PASSWORD_SPAN - now, timedelta(seconds=1)),
    )


def without_recipe(png: bytes) -> bytes:
    """Returns a PNG with the same pixels and colours, without text and EXIF; ValueError when it is no whole PNG."""
    if not png.startswith(_PNG_SIGNATURE):
        raise ValueError("this is no PNG")
    kept = (chunk for name, chunk in _chunks(png) if name not in _TELLING_CHUNKS)
    return b"".join((_PNG_SIGNATURE, *kept))


def _chunks(png: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yields the name and all bytes of each chunk: its length, name, content and checksum."""
    at, name = len(_PNG_SIGNATURE), b""
    while name != b"IEND":
        length, name = int.from_bytes(png[at : at + 4], "big"), png[at + 4 : at + 8]
        end = at + length + 12
        if end > len(png):
            raise ValueError("the PNG ends too early")
        yield name, png[at:end]
        at = end
