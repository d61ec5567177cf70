"""Owns the rules of addresses, names, passwords as text, and refresh token families.

Hashing passwords (slow, in threads) is left to the servicer, and keeping rows to the store.
"""

import enum
import hashlib
import unicodedata
from base64 import urlsafe_b64encode
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from svc_common.account_roles import AccountRole
from svc_common.errors import FieldViolation, Reason, ServiceError, invalid_field

# A change of a session reaches its access tokens after this at the latest.
ACCESS_TOKEN_LIFETIME: Final = timedelta(minutes=10)
# A session ends thirty days after its login however busy it is, and earlier when it was idle for fourteen.
SESSION_LIFETIME: Final = timedelta(days=30)
IDLE_LIFETIME: Final = timedelta(days=14)
# How long a client whose reply was lost may present the token again that it used.
REUSE_GRACE: Final = timedelta(seconds=10)
# How long after signing in somebody needn't show again who they are.
FRESH_SIGN_IN: Final = timedelta(minutes=10)

# How long a closed account can be opened again.
CHANGE_OF_MIND: Final = timedelta(days=30)

REFRESH_SECRET_BYTES: Final = 32
DISPLAY_NAME_MAX_LENGTH: Final = 80
CHANGEABLE_FIELDS: Final = ("display_name", "locale", "avatar")

# Marks our tokens for secret scanners; the SHA-256 is taken over the prefix too.
_REFRESH_PREFIX: Final = "pvrt_"
# Marks, embeddings, overrides and isolates of direction; spaces and operators without width; fillers without a shape. The
# joiners U+200C and U+200D are left: Persian words and emoji are written with them.
_DECEPTIVE: Final = frozenset(
    map(
        chr,
        (
            *(0x061C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A)),
            *(0x00AD, 0x180E, 0x200B, *range(0x2060, 0x2065), 0xFEFF),
            *(0x115F, 0x1160, 0x3164, 0xFFA0),
        ),
    )
)
# Control characters and line breaks would let a name forge lines in logs and mails.
_REFUSED_CATEGORIES: Final = frozenset({"Cc", "Zl", "Zp"})


class RefreshOutcome(enum.Enum):
    """Tells what presenting a refresh token leads to."""

    ROTATE = "rotate"
    """The newest generation was presented: the next one begins."""
    REISSUE = "reissue"
    """The generation before was presented by a client whose reply was lost: it gets a sibling of the newest."""
    REUSED = "reused"
    """An older generation was presented, so two parties hold the family: it is revoked."""
    REFUSED = "refused"
    """The token or its session has ended."""


@dataclass(frozen=True, slots=True)
class PresentedToken:
    """Holds what the store knows of a presented refresh token and of its family, which is the session."""

    session_id: UUID
    user_id: UUID
    account_id: UUID
    token_generation: int
    generation: int
    """Counts the rotations of the family: tokens of a lower generation have been used."""
    rotate_time: datetime
    """The time at which `generation` began, which is when the one before was first used."""
    create_time: datetime
    """The time of the login."""
    expire_time: datetime
    revoke_time: datetime | None
    role: str = AccountRole.USER.value
    token_epoch: int = 0
    suspend_time: datetime | None = None
    has_second_factor: bool = False
    is_closed: bool = False
    """Whether the user's account is closed."""


def normalise_email(email: str) -> str:
    """Returns the form under which an address is stored and looked up.

    PostgreSQL can't hold U+0000. No stored address contains the replacement character, so that a lookup of such text
    finds nobody instead of failing.
    """
    return email.lower().replace("\0", "\N{REPLACEMENT CHARACTER}")


def normalise_password(password: str) -> bytes:
    """Returns the bytes to hash: NFKC (NIST SP 800-63B, 5.1.1.2), so that é typed on two keyboards is one password."""
    return unicodedata.normalize("NFKC", password).encode()


def choose_display_name(name: str, email: str) -> str:
    """Returns the name that a new user is shown under: the given one, or else the part of the address before the @.

    Raises INVALID_FIELD as `clean_display_name` does.
    """
    if name.strip():
        return clean_display_name(name)
    return email.partition("@")[0][:DISPLAY_NAME_MAX_LENGTH]


def clean_display_name(name: str) -> str:
    """Returns the name without surrounding space.

    Raises INVALID_FIELD when nothing visible is left, or when the name contains a control character, a line break, or a
    character that reorders or hides what stands beside it: with those, one name can be shown as another.
    """
    cleaned = name.strip()
    if any(unicodedata.category(character) in _REFUSED_CATEGORIES for character in cleaned):
        raise invalid_field("display_name", "must not contain control characters or line breaks.")
    if any(character in _DECEPTIVE for character in cleaned):
        raise invalid_field(
            "display_name", "must not contain invisible characters or characters that change the direction of text."
        )
    if not any(unicodedata.category(character)[0] in "LNPS" for character in cleaned):
        raise invalid_field("display_name", "must contain a visible character.")
    return cleaned


def check_update_mask(paths: Collection[str], present: Collection[str]) -> None:
    """Raises INVALID_FIELD when a path can't be changed, or names a field that the request doesn't carry."""
    if unknown := [path for path in paths if path not in CHANGEABLE_FIELDS]:
        violations = [FieldViolation("update_mask", f"{path!r} can't be changed.") for path in unknown]
        names = ", ".join(CHANGEABLE_FIELDS)
        message = f"update_mask names a field that can't be changed; name some of {names}, or leave the mask out."
        raise ServiceError(Reason.INVALID_FIELD, message, violations=violations)
    for path in paths:
        if path not in present:
            raise invalid_field(path, "must be present, as update_mask names it.")


def decide_refresh(token: PresentedToken, now: datetime) -> RefreshOutcome:
    """Decides what presenting `token` at `now` leads to.

    Only generations are compared, not single tokens, so that siblings which were issued within the grace die together
    as soon as one of them is used. Were each valid until its own use, a thief who replayed a token within the grace
    would keep a branch of the family that nobody ever notices.
    """
    if token.revoke_time is not None or now >= token.expire_time:
        return RefreshOutcome.REFUSED
    if token.token_generation == token.generation:
        return RefreshOutcome.ROTATE
    is_immediate_predecessor = token.token_generation == token.generation - 1
    if is_immediate_predecessor and now - token.rotate_time <= REUSE_GRACE:
        return RefreshOutcome.REISSUE
    return RefreshOutcome.REUSED


def session_expire_time(create_time: datetime, now: datetime) -> datetime:
    """Returns when a session that began at `create_time` and is used at `now` ends, with all its refresh tokens."""
    return min(now + IDLE_LIFETIME, create_time + SESSION_LIFETIME)


def format_refresh_token(secret: bytes) -> str:
    """Returns the text form of a new refresh token made of `REFRESH_SECRET_BYTES` random bytes."""
    return _REFRESH_PREFIX + urlsafe_b64encode(secret).rstrip(b"=").decode()


def hash_refresh_token(token: str) -> bytes:
    """Returns the 32 bytes under which a refresh token is stored.

    A plain SHA-256 is enough: 256 random bits can't be guessed, unlike a password.
    """
    return hashlib.sha256(token.encode()).digest()
