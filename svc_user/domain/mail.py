"""Owns which mails there are, in which languages, and when a mail that couldn't be sent is tried again.

Words and servers are left to svc_user.mail.
"""

import enum
from datetime import datetime, timedelta
from typing import Final

DEFAULT_LOCALE: Final = "en"
LOCALES: Final = (DEFAULT_LOCALE, "ko")

GIVE_UP_AFTER: Final = timedelta(hours=24)
"""Whoever asked for a link a day ago has asked for another one since."""

# Longer than one attempt may take: what an attempt holds is then never taken for what it left behind.
_FIRST_DELAY: Final = timedelta(seconds=30)
_LONGEST_DELAY: Final = timedelta(minutes=15)


class MailKind(enum.StrEnum):
    """What a mail is about."""

    VERIFY_EMAIL = "verify_email"
    """The link that confirms the address of a new user."""
    EMAIL_IN_USE = "email_in_use"
    """Somebody tried to register with the address of a user."""
    RESET_PASSWORD = "reset_password"  # noqa: S105 - no password
    """The link that sets a new password."""
    PASSWORD_CHANGED = "password_changed"  # noqa: S105 - no password
    """The password was replaced."""
    SESSION_REVOKED = "session_revoked"
    """A refresh token came back after its use, so that its session was ended."""
    IDENTITY_LINKED = "identity_linked"
    """An identity at a provider can sign in from now on."""
    IDENTITY_UNLINKED = "identity_unlinked"
    """An identity at a provider can't sign in any more."""
    SECOND_FACTOR_ENABLED = "second_factor_enabled"
    """Signing in takes a second step from now on."""
    SECOND_FACTOR_DISABLED = "second_factor_disabled"
    """Signing in takes no second step any more."""
    CHANGE_EMAIL = "change_email"
    """The link that makes an address a user's; it goes to that address."""
    ACCOUNT_CLOSED = "account_closed"
    """The account is closed, to be erased."""
    EMAIL_CHANGED = "email_changed"
    """A user has another address now; it goes to the old one, with the link that undoes it."""
    LOW_BALANCE = "low_balance"
    """The credits fell below the threshold that the owner has set."""
    STATEMENT = "statement"
    """What a month did to the credits."""
    STORAGE_OVERAGE = "storage_overage"
    """The pictures take more than the tier stores; it tells from when on new jobs are refused."""
    ENTERPRISE_LEAD = "enterprise_lead"
    """Somebody asked for the enterprise plan; it goes to our sales team."""
    ACCOUNT_EXPORT = "account_export"
    """The copy of everything of an account is ready; its id is that of the mail."""


def retry_delay(attempt_count: int) -> timedelta:
    """Returns how long after the beginning of the n-th attempt (from 1) the next one comes: 30 s, doubled up to 15 min."""
    doublings = min(attempt_count - 1, 10)
    return min(_FIRST_DELAY * (1 << doublings), _LONGEST_DELAY)


def is_hopeless(create_time: datetime, now: datetime) -> bool:
    """Returns whether a mail isn't worth another attempt."""
    return now - create_time >= GIVE_UP_AFTER


def choose_locale(named: str, accept_language: str) -> str:
    """Returns the named language, or else the first one in an `accept-language` header (RFC 9110, 12.5.4) that we have.

    Weights are left out of account: browsers list languages by falling weight.
    """
    if named:
        return named
    for part in accept_language.split(","):
        language = part.partition(";")[0].partition("-")[0].strip().lower()
        if language in LOCALES:
            return language
    return DEFAULT_LOCALE
