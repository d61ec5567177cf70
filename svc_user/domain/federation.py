"""Owns the rules of signing in at a provider: what an attempt remembers, who a provider says somebody is, and ways in.

Talking to providers is left to `svc_user.providers`, and keeping attempts and rows to whoever does.
"""

import enum
import hashlib
import hmac
import re
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import Any, Final, Self
from uuid import UUID

from svc_common.errors import Reason, ServiceError
from svc_user.domain.identity import choose_display_name, normalise_email

ATTEMPT_LIFETIME: Final = timedelta(minutes=10)
# Long enough for a redirect to this machine and one call.
CODE_LIFETIME: Final = timedelta(minutes=1)
# 32 bytes are 43 characters, the shortest verifier that RFC 7636 allows.
SECRET_BYTES: Final = 32

_EMAIL_MAX_LENGTH: Final = 254
_EMAIL: Final = re.compile(r"[^\s@\x00-\x1f\x7f]+@[^\s@\x00-\x1f\x7f]+")
# OpenID Connect Core, section 2: a subject has at most 255 ASCII characters. Discord's are numbers.
_SUBJECT: Final = re.compile(r"[\x21-\x7e]{1,255}")


class Provider(enum.StrEnum):
    """A provider at which people can sign in; the value is its name in addresses, logs and rows."""

    GOOGLE = "google"
    DISCORD = "discord"

    @property
    def label(self) -> str:
        """The name as people read it."""
        return self.value.capitalize()


class Cause(enum.StrEnum):
    """Why signing in at a provider failed, as PROVIDER_SIGN_IN_FAILED tells it."""

    CANCELLED = "cancelled"
    STATE = "state"
    CODE = "code"
    IDENTITY = "identity"
    CLIENT = "client"


# RFC 6749, section 4.1.2.1, and OpenID Connect Core, section 3.1.2.6: what a provider sends back in place of a code. Whatever
# isn't named here is a fault of our registration or of our request.
UNAVAILABLE_ERRORS: Final = frozenset({"server_error", "temporarily_unavailable"})
_CANCELLATIONS: Final = frozenset({"access_denied", "consent_required", "interaction_required", "login_required"})

_MESSAGES: Final[Mapping[Cause, str]] = {
    Cause.CANCELLED: "You didn't let {provider} tell us who you are. Begin again if you want to.",
    Cause.STATE: (
        "This sign-in is unknown, was used before, took longer than ten minutes, or began in another browser or at "
        "another address of the studio. Begin again."
    ),
    Cause.CODE: "{provider} doesn't accept the code that it sent, which works once. Begin again.",
    Cause.IDENTITY: "What {provider} says about you can't be trusted: {detail}. Begin again.",
    Cause.CLIENT: "{provider} refuses this deployment. Its operator has to check the client id and secret.",
}


@dataclass(frozen=True, slots=True)
class Profile:
    """What a provider says about whoever signed in. The subject is theirs for ever; an address can change hands."""

    subject: str
    email: str
    email_verified: bool
    name: str


@dataclass(frozen=True, slots=True)
class Loopback:
    """Where a command line waits for its code, and the S256 challenge that the code is bound to."""

    port: int
    code_challenge: str
    state: str


@dataclass(frozen=True, slots=True)
class Attempt:
    """What is remembered between leaving for a provider and coming back from it.

    With `linked_user_id` the identity is linked to that user; with `loopback` a command line signs in; else a browser.
    """

    provider: Provider
    browser_hash: str
    nonce: str
    code_verifier: str
    loopback: Loopback | None = None
    linked_user_id: UUID | None = None
    linked_account_id: UUID | None = None

    def to_document(self) -> dict[str, Any]:
        """Returns it as JSON can hold it."""
        document = asdict(self)
        for name in ("linked_user_id", "linked_account_id"):
            document[name] = str(document[name]) if document[name] else None
        return document

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Self:
        """Returns the attempt that `to_document` was called on."""
        loopback, user_id, account_id = (document[name] for name in ("loopback", "linked_user_id", "linked_account_id"))
        return cls(
            provider=Provider(document["provider"]),
            browser_hash=document["browser_hash"],
            nonce=document["nonce"],
            code_verifier=document["code_verifier"],
            loopback=Loopback(**loopback) if loopback else None,
            linked_user_id=UUID(user_id) if user_id else None,
            linked_account_id=UUID(account_id) if account_id else None,
        )

    def check(self, provider: Provider, browser_secret: str) -> None:
        """Raises PROVIDER_SIGN_IN_FAILED unless the answer came to this provider's callback in the same browser."""
        is_same_browser = hmac.compare_digest(self.browser_hash, hash_secret(browser_secret))
        if not is_same_browser or provider is not self.provider:
            raise sign_in_failed(provider, Cause.STATE)


def format_secret(random: bytes) -> str:
    """Returns random bytes as text that addresses and cookies can hold."""
    return urlsafe_b64encode(random).rstrip(b"=").decode()


def hash_secret(secret: str) -> str:
    """Returns the SHA-256 of a secret of `SECRET_BYTES` random bytes, under which it is known here."""
    return hashlib.sha256(secret.encode()).hexdigest()


def code_challenge(code_verifier: str) -> str:
    """Returns the S256 challenge of a verifier (RFC 7636, section 4.2)."""
    return format_secret(hashlib.sha256(code_verifier.encode()).digest())


def check_verifier(code_verifier: str, challenge: str) -> bool:
    """Tells whether a challenge was made of a verifier."""
    return hmac.compare_digest(code_challenge(code_verifier), challenge)


def checked_profile(
    provider: Provider, *, subject: object, email: object, email_verified: object, name: object
) -> Profile:
    """Returns what a provider sent as a profile; only `true` itself counts as a verified address.

    Raises PROVIDER_SIGN_IN_FAILED when it names nobody.
    """
    if not isinstance(subject, str) or not _SUBJECT.fullmatch(subject):
        raise sign_in_failed(provider, Cause.IDENTITY, detail="it doesn't say whose account it is")
    is_address = isinstance(email, str) and len(email) <= _EMAIL_MAX_LENGTH and bool(_EMAIL.fullmatch(email))
    return Profile(
        subject=subject,
        email=normalise_email(str(email)) if is_address else "",
        email_verified=is_address and email_verified is True,
        name=name if isinstance(name, str) else "",
    )


def require_verified_email(provider: Provider, profile: Profile) -> str:
    """Returns the address for a new account; raises IDENTITY_EMAIL_UNVERIFIED without one that the provider vouches for."""
    if not profile.email_verified:
        raise ServiceError(
            Reason.IDENTITY_EMAIL_UNVERIFIED,
            f"{provider.label} hasn't verified your e-mail address. Verify it there, then sign in again.",
            metadata={"provider": provider.value},
        )
    return profile.email


def display_name_of(profile: Profile) -> str:
    """Returns the name of a new user: the provider's if it may be shown, or else the part of the address before the @."""
    try:
        return choose_display_name(profile.name[:80], profile.email)
    except ServiceError:
        return choose_display_name("", profile.email)


def check_way_in(*, has_password: bool, identity_count: int) -> None:
    """Raises LAST_WAY_IN when nobody could sign in any more."""
    if not has_password and not identity_count:
        raise ServiceError(
            Reason.LAST_WAY_IN, "This is the only way into your account. Set a password or link another provider first."
        )


def loopback_url(loopback: Loopback, name: str, value: str) -> str:
    """Returns the address of a waiting command line; both values are made of characters that addresses can hold."""
    return f"http://127.0.0.1:{loopback.port}/?{name}={value}&state={loopback.state}"


def sign_in_failed(provider: Provider | None, cause: Cause, *, detail: str = "") -> ServiceError:
    """Returns PROVIDER_SIGN_IN_FAILED; without a provider the failure is of this platform's own code."""
    label = provider.label if provider else "The studio"
    message = _MESSAGES[cause].format(provider=label, detail=detail)
    metadata = {"provider": provider.value if provider else "", "cause": cause.value}
    return ServiceError(Reason.PROVIDER_SIGN_IN_FAILED, message, metadata=metadata)


def not_configured(provider: Provider) -> ServiceError:
    """Returns PROVIDER_NOT_CONFIGURED."""
    return ServiceError(
        Reason.PROVIDER_NOT_CONFIGURED,
        f"This studio doesn't offer signing in with {provider.label}. Choose another way.",
        metadata={"provider": provider.value},
    )


def cause_of_error(error: str) -> Cause:
    """Returns why there is no code, by the error that the provider sent back; empty for an answer without either."""
    if error in _CANCELLATIONS:
        return Cause.CANCELLED
    return Cause.CLIENT if error else Cause.CODE


def identity_taken(provider: Provider) -> ServiceError:
    """Returns IDENTITY_TAKEN."""
    return ServiceError(
        Reason.IDENTITY_TAKEN,
        f"This account at {provider.label} is linked to another account here. Sign in with it, or unlink it there first.",
        metadata={"provider": provider.value},
    )


def email_taken(provider: Provider) -> ServiceError:
    """Returns EMAIL_TAKEN: whoever holds an address at a provider needn't be who registered it here."""
    return ServiceError(
        Reason.EMAIL_TAKEN,
        f"An account with the e-mail address of your {provider.label} account exists here. Sign in to it in its own way, "
        f"then link {provider.label} in your account.",
        metadata={"provider": provider.value},
    )
