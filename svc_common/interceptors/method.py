"""What is known about a method before it is ever called: read once from its contract, never on the hot path."""

from dataclasses import dataclass
from enum import Enum

from google.protobuf import descriptor_pool, message_factory
from google.protobuf.message import Message
from pingvas.common.v1 import authorization_pb2

from svc_common.account_roles import AccountRole
from svc_common.scopes import role_named, scope_name


class ContractError(Exception):
    """Means that a server can't start because a method's contract and its registration don't fit."""


class Audience(Enum):
    """Who may call a method; the values of pingvas.common.v1.Audience."""

    ANONYMOUS = authorization_pb2.AUDIENCE_ANONYMOUS
    USER = authorization_pb2.AUDIENCE_USER
    SERVICE = authorization_pb2.AUDIENCE_SERVICE


@dataclass(frozen=True, slots=True)
class Method:
    """The facts of one method. `path` is as on the wire: /package.Service/Method."""

    path: str
    service: str
    audience: Audience
    callers: frozenset[str]
    scope: str
    """What an API key needs to call it; empty: no key may."""
    role: AccountRole
    """The least role that a person needs to call it."""
    request_class: type[Message]
    is_stream: bool


def describe_method(service: str, name: str, *, is_stream: bool) -> Method:
    """Returns the facts of a method; raises ContractError when its authorization rule is missing or makes no sense."""
    path = f"/{service}/{name}"
    descriptor = descriptor_pool.Default().FindMethodByName(f"{service}.{name}")
    rule = descriptor.GetOptions().Extensions[authorization_pb2.authorization]
    if rule.audience == authorization_pb2.AUDIENCE_UNSPECIFIED:
        raise ContractError(f"{path} has no authorization rule; give it option (pingvas.common.v1.authorization)")
    audience = Audience(rule.audience)
    if (audience is Audience.SERVICE) != bool(rule.callers):
        raise ContractError(f"{path}: `callers` must be given for AUDIENCE_SERVICE, and for it only")
    if rule.scope and audience is not Audience.USER:
        raise ContractError(f"{path}: `scope` may be given for AUDIENCE_USER only")
    if rule.role and audience is not Audience.USER:
        raise ContractError(f"{path}: `role` may be given for AUDIENCE_USER only")
    role = role_named(rule.role)
    if rule.scope and role is not AccountRole.USER:
        raise ContractError(f"{path}: `scope` may not be given with a role: no API key acts for the platform's staff")
    return Method(
        path=path,
        service=service,
        audience=audience,
        callers=frozenset(rule.callers),
        scope=scope_name(rule.scope),
        role=role,
        request_class=message_factory.GetMessageClass(descriptor.input_type),
        is_stream=is_stream,
    )
