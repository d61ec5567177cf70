"""What every layer does at a unary call, seen through the real server by a real stub."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import asyncpg
import grpc
import pytest
import redis.exceptions
from pingvas.user.v1 import auth_service_pb2 as auth
from pingvas.user.v1 import user_directory_service_pb2 as directory
from pingvas.user.v1 import user_pb2
from pingvas.user.v1 import user_service_pb2 as users
from pingvas.user.v1.auth_service_pb2_grpc import AuthServiceStub, add_AuthServiceServicer_to_server
from pingvas.user.v1.user_directory_service_pb2_grpc import (
    UserDirectoryServiceStub,
    add_UserDirectoryServiceServicer_to_server,
)
from pingvas.user.v1.user_service_pb2_grpc import UserServiceStub, add_UserServiceServicer_to_server
from structlog.testing import capture_logs

from svc_common.caller import current_account, current_user, remaining_seconds, request_header, request_id
from svc_common.clock import new_id, now
from svc_common.errors import FieldViolation, Reason, ServiceError
from svc_common.interceptors.chain import INTERCEPTORS
from svc_common.server import Server
from svc_common.settings import ServiceSettings
from svc_common.telemetry import RPC_SECONDS
from svc_common.tokens import AccessTokenIssuer, SigningKey
from tests.fakes.user_service import ScriptedAuthService, ScriptedUserService
from tests.harness_postgres import UNREACHABLE_DATABASE, until
from tests.harness_service import AUDIENCE, ISSUER, Identities, RunningService, refusal_of, running, settings_values

GET_ME = users.GetMeRequest()
LOOKUP = directory.LookupUserRequest(email="ada@example.com")


@asynccontextmanager
async def user_service(identities: Identities, servicer: ScriptedUserService) -> AsyncIterator[RunningService]:
    server = Server(
        ServiceSettings(**settings_values(identities, "svc_user", UNREACHABLE_DATABASE)),
        "svc_user",
        public=[
            (add_UserServiceServicer_to_server, servicer),
            (add_AuthServiceServicer_to_server, ScriptedAuthService(servicer.behaviour)),
        ],
        internal=[(add_UserDirectoryServiceServicer_to_server, servicer)],
    )
    async with running(server) as service:
        yield service


def seconds_count(method: str, code: str) -> float:
    (metric,) = RPC_SECONDS.collect()
    wanted = {"method": method, "code": code}
    values = [each.value for each in metric.samples if each.name.endswith("_count") and each.labels == wanted]
    return values[0] if values else 0


def test_layers_are_in_the_order_of_the_architecture() -> None:
    assert [each.__name__ for each in INTERCEPTORS] == [
        "RequestIdentity",
        "CallReport",
        "ErrorTranslation",
        "Deadline",
        "Authentication",
        "Authorization",
        "Admission",
        "Validation",
    ]


async def test_handler_sees_who_calls(identities: Identities) -> None:
    account, user = new_id(), new_id()

    async def behaviour() -> user_pb2.User:
        return user_pb2.User(user_id=str(current_user()), account_id=str(current_account()))

    async with user_service(identities, ScriptedUserService(behaviour)) as service:
        answer = await UserServiceStub(service.public).GetMe(GET_ME, metadata=identities.as_user(account, user))

    assert (answer.user_id, answer.account_id) == (str(user), str(account))


async def test_concurrent_calls_do_not_see_one_another(identities: Identities) -> None:
    async def behaviour() -> user_pb2.User:
        account = current_account()
        await asyncio.sleep(0)
        assert current_account() == account
        return user_pb2.User(account_id=str(account))

    accounts = [new_id() for _ in range(50)]
    async with user_service(identities, ScriptedUserService(behaviour)) as service:
        stub = UserServiceStub(service.public)
        answers = await asyncio.gather(*[stub.GetMe(GET_ME, metadata=identities.as_user(each)) for each in accounts])

    assert [each.account_id for each in answers] == [str(each) for each in accounts]


async def test_call_without_credential_is_unauthenticated(identities: Identities) -> None:
    servicer = ScriptedUserService()
    async with user_service(identities, servicer) as service:
        refusal = await refusal_of(UserServiceStub(service.public).GetMe(GET_ME))

    assert refusal.reason is Reason.CREDENTIALS_MISSING
    assert servicer.calls == 0


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        ("Bearer", Reason.CREDENTIALS_MISSING),
        ("Basic YTpi", Reason.CREDENTIALS_MISSING),
        ("Bearer x.y.z", Reason.TOKEN_INVALID),
        ("Bearer ", Reason.TOKEN_INVALID),
    ],
)
async def test_call_with_a_useless_credential_is_unauthenticated(
    identities: Identities, header: str, reason: Reason
) -> None:
    async with user_service(identities, ScriptedUserService()) as service:
        call = UserServiceStub(service.public).GetMe(GET_ME, metadata=(("authorization", header),))
        refusal = await refusal_of(call)

    assert refusal.reason is reason


async def test_expired_token_is_told_apart(identities: Identities) -> None:
    issuer = AccessTokenIssuer(SigningKey.from_file(identities.user_key_file), ISSUER, AUDIENCE, timedelta(minutes=1))
    token = issuer.issue(new_id(), new_id(), new_id(), now() - timedelta(hours=1))
    async with user_service(identities, ScriptedUserService()) as service:
        call = UserServiceStub(service.public).GetMe(GET_ME, metadata=(("authorization", f"Bearer {token}"),))
        refusal = await refusal_of(call)

    assert refusal.reason is Reason.TOKEN_EXPIRED


async def test_identity_in_headers_is_not_believed(identities: Identities) -> None:
    forged = (("x-user-id", str(new_id())), ("x-account-id", str(new_id())), ("x-forwarded-client-cert", "By=svc"))
    async with user_service(identities, ScriptedUserService()) as service:
        refusal = await refusal_of(UserServiceStub(service.public).GetMe(GET_ME, metadata=forged))

    assert refusal.reason is Reason.CREDENTIALS_MISSING


async def test_service_credential_does_not_open_the_public_listener(identities: Identities) -> None:
    async with user_service(identities, ScriptedUserService()) as service:
        call = UserServiceStub(service.public).GetMe(GET_ME, metadata=identities.as_service("svc_payment"))
        refusal = await refusal_of(call)

    assert (refusal.reason, refusal.metadata) == (Reason.TOKEN_INVALID, {"cause": "type"})


async def test_user_token_does_not_open_the_internal_listener(identities: Identities) -> None:
    async with user_service(identities, ScriptedUserService()) as service:
        call = UserDirectoryServiceStub(service.internal).LookupUser(LOOKUP, metadata=identities.as_user(new_id()))
        refusal = await refusal_of(call)

    assert (refusal.reason, refusal.metadata) == (Reason.TOKEN_INVALID, {"cause": "type"})


async def test_service_that_the_contract_does_not_list_is_refused(identities: Identities) -> None:
    servicer = ScriptedUserService()
    async with user_service(identities, servicer) as service:
        stub = UserDirectoryServiceStub(service.internal)
        refusal = await refusal_of(stub.LookupUser(LOOKUP, metadata=identities.as_service("gpu_worker")))
        await stub.LookupUser(LOOKUP, metadata=identities.as_service("operator"))

    assert refusal.reason is Reason.CALLER_NOT_ALLOWED
    assert refusal.metadata["caller"] == "gpu_worker"
    assert servicer.calls == 1


async def test_internal_method_does_not_exist_on_the_public_listener(identities: Identities) -> None:
    async with user_service(identities, ScriptedUserService()) as service:
        stub = UserDirectoryServiceStub(service.public)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.LookupUser(LOOKUP, metadata=identities.as_service("operator"))

    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_anonymous_method_needs_no_credential(identities: Identities) -> None:
    request = auth.RegisterRequest(email="ada@example.com", password="a long password")
    async with user_service(identities, ScriptedUserService()) as service:
        answer = await AuthServiceStub(service.public).Register(request)

    assert answer == user_pb2.User()


async def test_invalid_request_names_every_field(identities: Identities) -> None:
    async with user_service(identities, ScriptedUserService()) as service:
        refusal = await refusal_of(AuthServiceStub(service.public).Register(auth.RegisterRequest(email="ada")))

    assert refusal.reason is Reason.INVALID_FIELD
    assert [each.field for each in refusal.violations] == ["email", "password"]
    assert all(each.description for each in refusal.violations)


async def test_invalid_request_is_not_looked_at_before_its_caller_is_known(identities: Identities) -> None:
    async with user_service(identities, ScriptedUserService()) as service:
        refusal = await refusal_of(UserServiceStub(service.public).UpdateMe(users.UpdateMeRequest(display_name="")))

    assert refusal.reason is Reason.CREDENTIALS_MISSING


async def test_refusal_of_a_handler_arrives_whole(identities: Identities) -> None:
    sent = ServiceError(
        Reason.QUEUE_FULL,
        "Five jobs wait. Try again later.",
        metadata={"tier": "free"},
        retry_after=timedelta(seconds=3),
        violations=[FieldViolation("a", "b")],
    )

    async def behaviour() -> user_pb2.User:
        raise sent

    async with user_service(identities, ScriptedUserService(behaviour)) as service:
        got = await refusal_of(UserServiceStub(service.public).GetMe(GET_ME, metadata=identities.as_user(new_id())))

    assert (got.reason, got.message, got.metadata) == (sent.reason, sent.message, sent.metadata)
    assert (got.retry_after, got.violations) == (sent.retry_after, sent.violations)


async def test_unknown_exception_gives_an_error_id_and_no_details(identities: Identities) -> None:
    secret = "duplicate key value violates unique constraint users_email for password hunter2"

    async def behaviour() -> user_pb2.User:
        raise asyncpg.UniqueViolationError(secret)

    async with user_service(identities, ScriptedUserService(behaviour)) as service:
        call = UserServiceStub(service.public).GetMe(GET_ME, metadata=identities.as_user(new_id()))
        with capture_logs() as events:
            got = await refusal_of(call)
        trailers = str(await call.trailing_metadata()) + (await call.details())

    (logged,) = [each for each in events if each["event"] == "rpc.failed"]
    assert got.reason is Reason.INTERNAL
    assert got.metadata == {"error_id": logged["error_id"]}
    assert str(logged["exc_info"]) == secret
    assert "hunter2" not in trailers
    assert "constraint" not in trailers


async def test_lost_redis_is_an_unavailable_dependency(identities: Identities) -> None:
    async def behaviour() -> user_pb2.User:
        raise redis.exceptions.ConnectionError("Error 111 connecting to 10.1.2.3:6379")

    async with user_service(identities, ScriptedUserService(behaviour)) as service:
        got = await refusal_of(UserServiceStub(service.public).GetMe(GET_ME, metadata=identities.as_user(new_id())))

    assert (got.reason, got.metadata) == (Reason.DEPENDENCY_UNAVAILABLE, {"dependency": "redis"})
    assert "10.1.2.3" not in got.message


@pytest.mark.parametrize(
    "error",
    [
        redis.exceptions.OutOfMemoryError("command not allowed when used memory > 'maxmemory'."),
        redis.exceptions.ResponseError("MISCONF Errors writing to the AOF file: No space left on device"),
    ],
)
async def test_redis_without_room_is_a_full_store(identities: Identities, error: Exception) -> None:
    async def behaviour() -> user_pb2.User:
        raise error

    async with user_service(identities, ScriptedUserService(behaviour)) as service:
        got = await refusal_of(UserServiceStub(service.public).GetMe(GET_ME, metadata=identities.as_user(new_id())))

    assert (got.reason, got.metadata) == (Reason.STORAGE_FULL, {"store": "redis"})
    assert got.retry_after is not None


async def test_cancellation_inside_a_handler_is_answered(identities: Identities) -> None:
    async def behaviour() -> user_pb2.User:
        inner = asyncio.ensure_future(asyncio.Event().wait())
        asyncio.get_running_loop().call_soon(inner.cancel)
        await inner
        raise AssertionError("unreachable")

    async with user_service(identities, ScriptedUserService(behaviour)) as service:
        call = UserServiceStub(service.public).GetMe(GET_ME, metadata=identities.as_user(new_id()), timeout=5)
        got = await refusal_of(call)

    assert got.reason is Reason.DEPENDENCY_UNAVAILABLE


async def test_cancelled_call_ends_its_handler(identities: Identities) -> None:
    began, ended = asyncio.Event(), asyncio.Event()

    async def behaviour() -> user_pb2.User:
        began.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        raise AssertionError("unreachable")

    async with user_service(identities, ScriptedUserService(behaviour)) as service:
        cancelled_before = seconds_count("/pingvas.user.v1.UserService/GetMe", "CANCELLED")
        call = UserServiceStub(service.public).GetMe(GET_ME, metadata=identities.as_user(new_id()))
        await asyncio.wait_for(began.wait(), 5)
        call.cancel()
        await asyncio.wait_for(ended.wait(), 5)

        async def is_counted() -> bool:
            return seconds_count("/pingvas.user.v1.UserService/GetMe", "CANCELLED") == cancelled_before + 1

        await until(is_counted)


async def test_call_with_no_time_left_is_refused_before_its_handler(identities: Identities) -> None:
    servicer = ScriptedUserService()
    async with user_service(identities, servicer) as service:
        stub = UserServiceStub(service.public)
        await stub.GetMe(GET_ME, metadata=identities.as_user(new_id()))
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.GetMe(GET_ME, metadata=identities.as_user(new_id()), timeout=0.015)

    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert servicer.calls == 1


async def test_handler_knows_the_deadline_of_its_caller(identities: Identities) -> None:
    seen: list[float | None] = []

    async def behaviour() -> user_pb2.User:
        seen.append(remaining_seconds())
        return user_pb2.User()

    async with user_service(identities, ScriptedUserService(behaviour)) as service:
        stub = UserServiceStub(service.public)
        await stub.GetMe(GET_ME, metadata=identities.as_user(new_id()), timeout=3)
        await stub.GetMe(GET_ME, metadata=identities.as_user(new_id()))

    with_deadline, without = seen
    assert with_deadline is not None
    # gRPC rounds a deadline up on the wire, by up to a hundredth.
    assert 2 < with_deadline < 3.1
    assert without is not None
    assert 9 < without <= 10


async def test_call_without_deadline_is_ended_by_the_server(
    identities: Identities, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("svc_common.interceptors.deadline.DEFAULT_SECONDS", 0.05)
    ended = asyncio.Event()

    async def behaviour() -> user_pb2.User:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        raise AssertionError("unreachable")

    async with user_service(identities, ScriptedUserService(behaviour)) as service:
        got = await refusal_of(UserServiceStub(service.public).GetMe(GET_ME, metadata=identities.as_user(new_id())))

    assert got.reason is Reason.DEADLINE_TOO_SHORT
    assert ended.is_set()


async def test_timeout_of_the_handler_itself_is_a_fault(identities: Identities) -> None:
    async def behaviour() -> user_pb2.User:
        raise TimeoutError

    async with user_service(identities, ScriptedUserService(behaviour)) as service:
        got = await refusal_of(UserServiceStub(service.public).GetMe(GET_ME, metadata=identities.as_user(new_id())))

    assert got.reason is Reason.INTERNAL


async def echo_identity() -> user_pb2.User:
    return user_pb2.User(user_id=request_id(), email=request_header("idempotency-key") or "")


async def test_headers_reach_the_handler(identities: Identities) -> None:
    async with user_service(identities, ScriptedUserService(echo_identity)) as service:
        own = (("x-request-id", "abc-12345678"), ("idempotency-key", "once"))
        answer = await UserServiceStub(service.public).GetMe(GET_ME, metadata=(*identities.as_user(new_id()), *own))

    assert (answer.user_id, answer.email) == ("abc-12345678", "once")


@pytest.mark.parametrize("given", [None, "x", "with space and more", "a" * 65, 'injected","level":"error'])
async def test_request_id_is_made_when_the_caller_gives_no_plain_one(identities: Identities, given: str | None) -> None:
    own: tuple[Any, ...] = (("x-request-id", given),) if given else ()
    async with user_service(identities, ScriptedUserService(echo_identity)) as service:
        answer = await UserServiceStub(service.public).GetMe(GET_ME, metadata=(*identities.as_user(new_id()), *own))

    assert re.fullmatch(r"[0-9a-f-]{36}", answer.user_id)


async def test_refusal_carries_the_request_id(identities: Identities) -> None:
    async with user_service(identities, ScriptedUserService()) as service:
        call = UserServiceStub(service.public).GetMe(GET_ME, metadata=(("x-request-id", "abc-12345678"),))
        await refusal_of(call)

    assert ("x-request-id", "abc-12345678") in [tuple(each) for each in await call.trailing_metadata()]


async def test_calls_are_counted_by_method_and_code(identities: Identities) -> None:
    method = "/pingvas.user.v1.UserService/GetMe"
    before = seconds_count(method, "OK"), seconds_count(method, "UNAUTHENTICATED")
    async with user_service(identities, ScriptedUserService()) as service:
        stub = UserServiceStub(service.public)
        await stub.GetMe(GET_ME, metadata=identities.as_user(new_id()))
        await refusal_of(stub.GetMe(GET_ME))

    assert (seconds_count(method, "OK"), seconds_count(method, "UNAUTHENTICATED")) == (before[0] + 1, before[1] + 1)


async def test_message_above_four_mebibytes_is_refused(identities: Identities) -> None:
    async with user_service(identities, ScriptedUserService()) as service:
        request = users.UpdateMeRequest(display_name="x" * (4 * 1024 * 1024 + 1))
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await UserServiceStub(service.public).UpdateMe(request, metadata=identities.as_user(new_id()))

    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
