"""Every method of every service against every kind of caller: what the real interceptors answer, read off the contracts.

The handlers are made up, so that only the rules decide; that a caller sees the rows of their own account only
is shown with the real services in tests/e2e. A method that is added is in the table without a line here, and the roles that
methods need are listed once, so that none loses its own unnoticed.
"""

from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

import grpc
import grpc.aio
import pytest
import pytest_asyncio
from google.protobuf.message import Message
from pingvas.common.v1 import scope_pb2

from svc_common.account_roles import AccountRole
from svc_common.clock import new_id
from svc_common.errors import CODES, Code, Reason
from svc_common.interceptors.interceptor import Verifiers
from svc_common.interceptors.registration import Listener, register
from svc_common.key_sets import KeySet
from svc_common.registry import CALLERS
from svc_common.revocations import Revocation, Revocations
from svc_common.scopes import RECOVER, role_named, scope_name, scope_names
from svc_common.tokens import AccessTokens, ServiceTokens
from tests.contract import tokens
from tests.contract.surface import Rpc, all_rpcs, internal_rpcs, public_rpcs
from tests.factories.messages import request_for
from tests.fakes.public_platform import adder, by_service
from tests.harness_service import AUDIENCE, ISSUER, Identities, Metadata, refusal_of

SUSPENDED: Final = UUID(int=0x5A5)
# No key has the last one: it is what the session of a closed account is good for.
ALL_SCOPES: Final = scope_names(number for number in scope_pb2.Scope.values() if number) - {RECOVER}

ROLES_NEEDED: Final[Mapping[str, AccountRole]] = {
    "AccountAdminService.SearchUsers": AccountRole.SUPPORT,
    "AccountAdminService.SetAccountRole": AccountRole.ADMINISTRATOR,
    "AccountAdminService.SuspendAccount": AccountRole.ADMINISTRATOR,
    "AccountAdminService.ReinstateAccount": AccountRole.ADMINISTRATOR,
    "AccountAdminService.ResetSecondFactor": AccountRole.ADMINISTRATOR,
    "AuditService.ListAllAuditEvents": AccountRole.ADMINISTRATOR,
    "EnterpriseService.ActivateEnterprise": AccountRole.ADMINISTRATOR,
    "EnterpriseService.ListEnterpriseLeads": AccountRole.ADMINISTRATOR,
    "GenerationAdminService.GetQueue": AccountRole.ADMINISTRATOR,
    "GenerationAdminService.ListWorkers": AccountRole.ADMINISTRATOR,
    "GenerationAdminService.DrainWorker": AccountRole.ADMINISTRATOR,
    "GenerationAdminService.GetJobRecord": AccountRole.ADMINISTRATOR,
    "GenerationAdminService.RequeueJob": AccountRole.ADMINISTRATOR,
    "GenerationAdminService.PauseTier": AccountRole.ADMINISTRATOR,
    "GenerationAdminService.ResumeTier": AccountRole.ADMINISTRATOR,
    "PaymentAdminService.GrantCredits": AccountRole.ADMINISTRATOR,
    "PaymentAdminService.SetTier": AccountRole.ADMINISTRATOR,
    "PaymentAdminService.AuditLedger": AccountRole.ADMINISTRATOR,
}
FOR_USERS: Final = [rpc for rpc in public_rpcs() if not rpc.is_anonymous]

Credential = Callable[[Identities], Metadata]


@dataclass(frozen=True, slots=True)
class Doors:
    """Channels to a public and an internal listener with every method of the contracts."""

    public: grpc.aio.Channel
    internal: grpc.aio.Channel


def _servicer(rpcs: list[Rpc]) -> Any:
    def handler(rpc: Rpc) -> Callable[..., Any]:
        async def answer(_: object, __: Message, ___: object) -> Message:
            return rpc.response_class()

        async def stream(_: object, __: Message, ___: object) -> AsyncIterator[Message]:
            yield rpc.response_class()

        return stream if rpc.streams else answer

    return type("Servicer", (), {rpc.descriptor.name: handler(rpc) for rpc in rpcs})()


@pytest_asyncio.fixture(scope="module")
async def doors(identities: Identities) -> AsyncIterator[Doors]:
    revocations = Revocations.connected_to("redis://127.0.0.1:1")
    await revocations.note(Revocation(SUSPENDED, least_epoch=1, is_suspended=True))
    verifiers = Verifiers(
        AccessTokens(KeySet.from_file(identities.folder / "users.jwks"), ISSUER, AUDIENCE),
        ServiceTokens(KeySet.from_file(identities.folder / "services.jwks")),
        revocations=revocations,
    )
    servers, channels = [], []
    for listener, rpcs in ((Listener.PUBLIC, public_rpcs()), (Listener.INTERNAL, internal_rpcs())):
        server = grpc.aio.server()
        registrations = [(adder(name, own), _servicer(own)) for name, own in by_service(rpcs).items()]
        register(server, registrations, listener, verifiers)
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        servers.append(server)
        channels.append(grpc.aio.insecure_channel(f"127.0.0.1:{port}"))
    yield Doors(*channels)
    for channel in channels:
        await channel.close()
    for server in servers:
        await server.stop(None)
    await revocations.close()


def call(channel: grpc.aio.Channel, rpc: Rpc, metadata: Metadata, request: Message | None = None) -> Any:
    """Calls a method; the refusal of a stream is that of its first message."""
    make = channel.unary_stream if rpc.streams else channel.unary_unary
    method = make(
        rpc.path,
        request_serializer=rpc.request_class.SerializeToString,
        response_deserializer=rpc.response_class.FromString,
    )
    made = method(request if request is not None else rpc.request_class(), metadata=metadata)
    return made.read() if rpc.streams else made


async def reason_for(channel: grpc.aio.Channel, rpc: Rpc, metadata: Metadata) -> Reason:
    """Returns why a call is refused; that its code is the reason's is asserted on the way."""
    return (await refusal_of(call(channel, rpc, metadata))).reason


# By whom a method for users is refused whatever its role or scope, with what reason.
NEVER: Final[Mapping[str, tuple[Credential, Reason]]] = {
    "anonymous": (lambda _: (), Reason.CREDENTIALS_MISSING),
    "garbage": (lambda _: tokens.bearer("garbage"), Reason.TOKEN_INVALID),
    "expired": (lambda keys: tokens.bearer(tokens.expired(keys)), Reason.TOKEN_EXPIRED),
    "without expiry": (lambda keys: tokens.bearer(tokens.without_expiry(keys)), Reason.TOKEN_INVALID),
    "wrong audience": (lambda keys: tokens.bearer(tokens.of_other_audience(keys)), Reason.TOKEN_INVALID),
    "wrong issuer": (lambda keys: tokens.bearer(tokens.of_other_issuer(keys)), Reason.TOKEN_INVALID),
    "HS256 by the public key": (
        lambda keys: tokens.bearer(tokens.signed_with_public_key(keys)),
        Reason.TOKEN_INVALID,
    ),
    "alg none": (lambda keys: tokens.bearer(tokens.unsigned(keys)), Reason.TOKEN_INVALID),
    "tampered": (lambda keys: tokens.bearer(tokens.tampered(keys)), Reason.TOKEN_INVALID),
    "service": (lambda keys: keys.as_service("svc_generation"), Reason.TOKEN_INVALID),
    "suspended": (
        lambda keys: keys.as_user(SUSPENDED, role=AccountRole.ADMINISTRATOR),
        Reason.ACCOUNT_SUSPENDED,
    ),
    "key of a suspended account": (lambda keys: keys.as_api_key(SUSPENDED, *ALL_SCOPES), Reason.ACCOUNT_SUSPENDED),
}


def test_roles_that_methods_need_are_these() -> None:
    needed = {str(rpc): role_named(rpc.rule.role) for rpc in all_rpcs()}
    assert {name: role for name, role in needed.items() if role is not AccountRole.USER} == ROLES_NEEDED


@pytest.mark.parametrize("rpc", FOR_USERS, ids=str)
async def test_method_for_users_refuses_bad_credentials(rpc: Rpc, doors: Doors, identities: Identities) -> None:
    refused = {kind: await reason_for(doors.public, rpc, make(identities)) for kind, (make, _) in NEVER.items()}
    assert refused == {kind: reason for kind, (_, reason) in NEVER.items()}


@pytest.mark.parametrize("rpc", FOR_USERS, ids=str)
async def test_method_for_users_asks_for_its_role(rpc: Rpc, doors: Doors, identities: Identities) -> None:
    needed = ROLES_NEEDED.get(str(rpc), AccountRole.USER)
    for role in AccountRole:
        caller = identities.as_user(new_id(), role=role)
        if role.includes(needed):
            await call(doors.public, rpc, caller, request_for(str(rpc)))
        else:
            assert await reason_for(doors.public, rpc, caller) is Reason.ROLE_MISSING


@pytest.mark.parametrize("rpc", FOR_USERS, ids=str)
async def test_method_for_users_takes_keys_with_its_scope_only(rpc: Rpc, doors: Doors, identities: Identities) -> None:
    scope = scope_name(rpc.rule.scope)
    closed = identities.as_api_key(new_id(), RECOVER)
    if scope == RECOVER:
        await call(doors.public, rpc, closed, request_for(str(rpc)))
    else:
        assert await reason_for(doors.public, rpc, closed) is Reason.ACCOUNT_CLOSED
    others = identities.as_api_key(new_id(), *(ALL_SCOPES - {scope}))
    assert await reason_for(doors.public, rpc, others) is Reason.SCOPE_MISSING
    assert await reason_for(doors.public, rpc, identities.as_api_key(new_id())) is Reason.SCOPE_MISSING
    if scope:
        await call(doors.public, rpc, identities.as_api_key(new_id(), scope), request_for(str(rpc)))


@pytest.mark.parametrize("rpc", [rpc for rpc in public_rpcs() if rpc.is_anonymous], ids=str)
async def test_method_for_anybody_looks_at_no_credential(rpc: Rpc, doors: Doors, identities: Identities) -> None:
    for make, _ in NEVER.values():
        await call(doors.public, rpc, make(identities), request_for(str(rpc)))


@pytest.mark.parametrize("rpc", internal_rpcs(), ids=str)
async def test_internal_method_takes_the_services_that_it_names_only(
    rpc: Rpc, doors: Doors, identities: Identities
) -> None:
    for service in CALLERS:
        reason = await _refused(doors.internal, rpc, identities.as_service(service))
        # An empty request breaks the rules of most messages, about which only those hear who may call.
        allowed = {None, Reason.INVALID_FIELD}
        assert reason in (allowed if service in rpc.rule.callers else {Reason.CALLER_NOT_ALLOWED}), service
    wrong: Mapping[str, tuple[Metadata, Reason]] = {
        "anonymous": ((), Reason.CREDENTIALS_MISSING),
        "administrator": (identities.as_user(new_id(), role=AccountRole.ADMINISTRATOR), Reason.TOKEN_INVALID),
        "key": (identities.as_api_key(new_id(), *ALL_SCOPES), Reason.TOKEN_INVALID),
        "expired": (
            tokens.bearer(tokens.expired_service_token(identities, rpc.rule.callers[0])),
            Reason.TOKEN_EXPIRED,
        ),
        "wrong audience": (
            tokens.bearer(identities.credential(rpc.rule.callers[0]).token("elsewhere")),
            Reason.TOKEN_INVALID,
        ),
        "HS256 by the public key": (tokens.bearer(tokens.signed_with_public_key(identities)), Reason.TOKEN_INVALID),
        "alg none": (tokens.bearer(tokens.unsigned(identities)), Reason.TOKEN_INVALID),
    }
    refused = {kind: await reason_for(doors.internal, rpc, metadata) for kind, (metadata, _) in wrong.items()}
    assert refused == {kind: reason for kind, (_, reason) in wrong.items()}


@pytest.mark.parametrize("rpc", all_rpcs(), ids=str)
async def test_method_is_on_one_listener_only(rpc: Rpc, doors: Doors, identities: Identities) -> None:
    other = doors.internal if rpc.is_public else doors.public
    for metadata in ((), identities.as_user(new_id()), identities.as_service("svc_generation")):
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await call(other, rpc, metadata)
        assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_reasons_of_the_table_have_the_codes_that_callers_expect() -> None:
    assert {reason: CODES[reason] for _, reason in NEVER.values()} == {
        Reason.CREDENTIALS_MISSING: Code.UNAUTHENTICATED,
        Reason.TOKEN_INVALID: Code.UNAUTHENTICATED,
        Reason.TOKEN_EXPIRED: Code.UNAUTHENTICATED,
        Reason.ACCOUNT_SUSPENDED: Code.PERMISSION_DENIED,
    }
    assert {CODES[each] for each in (Reason.ROLE_MISSING, Reason.SCOPE_MISSING, Reason.CALLER_NOT_ALLOWED)} == {
        Code.PERMISSION_DENIED
    }


async def _refused(channel: grpc.aio.Channel, rpc: Rpc, metadata: Metadata) -> Reason | None:
    """Returns why a call is refused, or None when it is answered."""
    try:
        await call(channel, rpc, metadata)
    except grpc.aio.AioRpcError:
        return await reason_for(channel, rpc, metadata)
    return None
