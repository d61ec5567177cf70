"""Owns the tokens of mailed links: what they allow, how long they live, and how they look."""

import enum
import hashlib
from base64 import urlsafe_b64encode
from datetime import timedelta
from types import MappingProxyType
from typing import Final

LINK_SECRET_BYTES: Final = 32

# Marks our tokens for secret scanners; the SHA-256 is taken over the prefix too.
_PREFIX: Final = "pvlt_"


class LinkPurpose(enum.StrEnum):
    """What the token of a link may be used for."""

    VERIFY_EMAIL = "verify_email"
    RESET_PASSWORD = "reset_password"  # noqa: S105 - no password
    CHANGE_EMAIL = "change_email"
    UNDO_EMAIL_CHANGE = "undo_email_change"


LINK_LIFETIMES: Final = MappingProxyType(
    {
        # Whoever registers in the evening may read their mail in the morning after next; the link lets nobody in.
        LinkPurpose.VERIFY_EMAIL: timedelta(hours=48),
        # This one is as good as the password.
        LinkPurpose.RESET_PASSWORD: timedelta(minutes=30),
        LinkPurpose.CHANGE_EMAIL: timedelta(hours=24),
        # Somebody whose account was stolen while they were away must find the mail in time.
        LinkPurpose.UNDO_EMAIL_CHANGE: timedelta(days=7),
    }
)


def format_link_token(secret: bytes) -> str:
    """Returns the text form of a new token made of `LINK_SECRET_BYTES` random bytes."""
    return _PREFIX + urlsafe_b64encode(secret).rstrip(b"=").decode()


def hash_link_token(token: str) -> bytes:
    """Returns the 32 bytes under which a token is stored; 256 random bits need no slow hash."""
    return hashlib.sha256(token.encode()).digest()
