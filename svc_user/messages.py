"""Turns rows and keys into the messages of `pingvas.user.v1`."""

from collections.abc import Iterable, Mapping
from typing import Final, cast
from uuid import UUID

from pingvas.common.v1 import scope_pb2, tier_pb2
from pingvas.user.v1 import (
    account_admin_service_pb2,
    api_key_pb2,
    audit_event_pb2,
    auth_service_pb2,
    identity_pb2,
    session_pb2,
    user_pb2,
)

from svc_common.account_roles import AccountRole
from svc_common.api_keys import KeyLimits
from svc_common.credits import format_credits, parse
from svc_common.errors import invalid_field
from svc_common.scopes import role_value
from svc_user import domain
from svc_user.domain.audit import NOBODY, AuditKind
from svc_user.domain.federation import Provider
from svc_user.store.models import ApiKey, AuditEvent, Identity, Session, User

_AUDIT_KIND_PREFIX: Final = "AUDIT_EVENT_KIND_"
_PUBLIC_MEMBERS: Final = ("kty", "crv", "x", "y", "kid", "alg", "use")

PROVIDERS: Final[Mapping[identity_pb2.Provider.ValueType, Provider]] = {
    identity_pb2.PROVIDER_GOOGLE: Provider.GOOGLE,
    identity_pb2.PROVIDER_DISCORD: Provider.DISCORD,
}
_PROVIDER_VALUES: Final = {provider: value for value, provider in PROVIDERS.items()}


def user_message(user: User, avatar: bytes = b"") -> user_pb2.User:
    """Returns the message of a user, with the picture for those who ask for it; the password's hash has no place in it."""
    message = user_pb2.User(
        user_id=str(user.user_id),
        account_id=str(user.account_id),
        email=user.email,
        email_verified=user.email_verified,
        display_name=user.display_name,
        locale=user.locale,
        avatar=avatar,
        # The database's default, which a row that was just made doesn't show yet.
        role=role_value(AccountRole(user.role or AccountRole.USER)),
    )
    message.create_time.FromDatetime(user.create_time)
    return message


def managed_user_message(
    user: User, tier: int = 0, *, has_factor: bool = False
) -> account_admin_service_pb2.ManagedUser:
    """Returns the message of a user for administrators."""
    message = account_admin_service_pb2.ManagedUser(
        user=user_message(user),
        tier=cast("tier_pb2.Tier.ValueType", tier),
        suspend_reason=user.suspend_reason,
        has_second_factor=has_factor,
    )
    if user.suspend_time is not None:
        message.suspend_time.FromDatetime(user.suspend_time)
    return message


def identity_message(identity: Identity) -> identity_pb2.Identity:
    """Returns the message of an identity; the provider's id of it is nobody's business."""
    message = identity_pb2.Identity(
        identity_id=str(identity.identity_id),
        provider=provider_value(Provider(identity.provider)),
        email=identity.email,
    )
    message.create_time.FromDatetime(identity.create_time)
    return message


def provider_value(provider: Provider) -> identity_pb2.Provider.ValueType:
    """Returns the contract's value for a provider."""
    return _PROVIDER_VALUES[provider]


def session_message(session: Session, current: UUID | None) -> session_pb2.Session:
    """Returns the message of a session; `current` is the one that makes the call."""
    message = session_pb2.Session(
        session_id=str(session.session_id),
        device=domain.device_name(session.user_agent),
        network=session.network,
        is_current=session.session_id == current,
    )
    message.create_time.FromDatetime(session.create_time)
    # A session in use is rotated as often as its access token expires.
    message.last_seen_time.FromDatetime(session.rotate_time)
    message.expire_time.FromDatetime(session.expire_time)
    return message


def api_key_message(key: ApiKey, text: str = "") -> api_key_pb2.ApiKey:
    """Returns the message of a key; `text` is the key itself, which is known once only."""
    message = api_key_pb2.ApiKey(api_key_id=key.api_key_id, name=key.name, key=text)
    message.scopes.extend(cast("Iterable[scope_pb2.Scope.ValueType]", key.scopes))
    message.create_time.FromDatetime(key.create_time)
    if key.expire_time is not None:
        message.expire_time.FromDatetime(key.expire_time)
    if key.last_use_time is not None:
        message.last_use_time.FromDatetime(key.last_use_time)
    message.limits.CopyFrom(_limits_message(key_limits(key)))
    return message


def key_limits(key: ApiKey) -> KeyLimits:
    """Returns the limits of a key."""
    return KeyLimits(
        key.api_key_id, key.day_millicredits, key.month_millicredits, frozenset(key.model_ids), key.largest_side_px
    )


def limits_of(message: api_key_pb2.ApiKeyLimits, api_key_id: str = "") -> KeyLimits:
    """Returns the limits that a request names; raises INVALID_FIELD."""
    return KeyLimits(
        api_key_id,
        _amount(message.credits_a_day, "limits.credits_a_day"),
        _amount(message.credits_a_month, "limits.credits_a_month"),
        frozenset(message.model_ids),
        message.largest_side_px or None,
    )


def _limits_message(limits: KeyLimits) -> api_key_pb2.ApiKeyLimits:
    day, month = limits.day_millicredits, limits.month_millicredits
    return api_key_pb2.ApiKeyLimits(
        credits_a_day="" if day is None else format_credits(day),
        credits_a_month="" if month is None else format_credits(month),
        model_ids=sorted(limits.model_ids),
        largest_side_px=limits.largest_side_px or 0,
    )


def _amount(text: str, field: str) -> int | None:
    if not text:
        return None
    millicredits = parse(text, field)
    if millicredits < 0:
        raise invalid_field(field, "must not be negative")
    return millicredits


def jwk_set_message(keys: Iterable[Mapping[str, str]]) -> auth_service_pb2.JwkSet:
    """Returns the message of EC public keys given as RFC 7517 writes them; members that aren't public are left out."""
    public = ({name: key[name] for name in _PUBLIC_MEMBERS} for key in keys)
    return auth_service_pb2.JwkSet(keys=[auth_service_pb2.Jwk(**members) for members in public])


def audit_kind(kind: audit_event_pb2.AuditEventKind.ValueType) -> AuditKind:
    """Returns what was done, as the audit log keeps it."""
    return AuditKind[audit_event_pb2.AuditEventKind.Name(kind).removeprefix(_AUDIT_KIND_PREFIX)]


def audit_event_message(event: AuditEvent) -> audit_event_pb2.AuditEvent:
    """Returns the message of an event."""
    message = audit_event_pb2.AuditEvent(
        event_id=str(event.event_id),
        account_id="" if event.account_id == NOBODY else str(event.account_id),
        actor=event.actor,
        kind=audit_event_pb2.AuditEventKind.Value(f"{_AUDIT_KIND_PREFIX}{event.kind.upper()}"),
        network=event.network,
        device=domain.device_name(event.user_agent),
        before=event.before,
        after=event.after,
    )
    message.create_time.FromDatetime(event.create_time)
    return message
