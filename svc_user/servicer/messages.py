"""Turns rows and keys into the messages of `pingvas.user.v1`."""

from collections.abc import Iterable, Mapping
from typing import Final

from pingvas.user.v1 import auth_service_pb2, user_pb2

from svc_user.store.models import User

_PUBLIC_MEMBERS: Final = ("kty", "crv", "x", "y", "kid", "alg", "use")


def user_message(user: User) -> user_pb2.User:
    """Returns the message of a user; the password's hash has no place in it."""
    message = user_pb2.User(
        user_id=str(user.user_id),
        account_id=str(user.account_id),
        email=user.email,
        email_verified=user.email_verified,
        display_name=user.display_name,
    )
    message.create_time.FromDatetime(user.create_time)
    return message


def jwk_set_message(keys: Iterable[Mapping[str, str]]) -> auth_service_pb2.JwkSet:
    """Returns the message of EC public keys given as RFC 7517 writes them; members that aren't public are left out."""
    public = ({name: key[name] for name in _PUBLIC_MEMBERS} for key in keys)
    return auth_service_pb2.JwkSet(keys=[auth_service_pb2.Jwk(**members) for members in public])
