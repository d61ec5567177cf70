"""Registration, profiles, keys and the directory of svc_user, through its real listeners and a real database."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from uuid import UUID

import asyncpg
import grpc
import jwt
import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from pingvas.user.v1 import auth_service_pb2, user_directory_service_pb2, user_pb2, user_service_pb2
from pingvas.user.v1.user_directory_service_pb2_grpc import UserDirectoryServiceStub

from svc_common.errors import Code, Reason
from svc_common.key_sets import KeySet
from svc_common.tokens import AccessTokens
from svc_user.main import compose
from tests.factories.user_service import (
    PASSWORD,
    UserService,
    bearer,
    refusal,
    running_user_service,
    user_settings,
    write_keys,
)
from tests.harness_postgres import DatabaseFactory


@pytest.fixture(scope="module")
async def service(
    database_for: DatabaseFactory, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[UserService]:
    folder = tmp_path_factory.mktemp("keys")
    async with running_user_service(await database_for("user"), folder) as running:
        yield running


async def test_register_returns_unverified_user_with_own_account(service: UserService) -> None:
    user = await service.register(email="Ada@Example.COM", display_name="  Ada L. ")

    assert UUID(user.user_id).version == 7
    assert user.account_id == user.user_id
    assert (user.email, user.email_verified, user.display_name) == ("ada@example.com", False, "Ada L.")
    assert user.create_time.ToDatetime(service.clock().tzinfo) == service.clock()


async def test_register_names_user_after_address_when_name_is_absent(service: UserService) -> None:
    assert (await service.register(email="grace.hopper@example.com")).display_name == "grace.hopper"


async def test_register_answers_alike_and_changes_nothing_when_address_is_taken(service: UserService) -> None:
    first = await service.register(email="taken@example.com")

    second = await service.register(email="TAKEN@example.com", password="another password", display_name="Thief")

    assert (second.email, second.email_verified, second.display_name) == ("taken@example.com", False, "Thief")
    assert UUID(second.user_id).version == 7
    assert second.user_id != first.user_id
    error = await refusal(service.login("taken@example.com", "another password"))
    assert (error.reason, error.code) == (Reason.LOGIN_FAILED, Code.UNAUTHENTICATED)
    assert await _get_me(service, (await service.login("taken@example.com")).access_token) == first


@pytest.mark.parametrize("password", ["password12", "qwertyuiop", "1234567890", "aaaaaaaaaaaaaaaa", "grace.hopper1"])
async def test_register_refuses_passwords_that_are_guessed_first(service: UserService, password: str) -> None:
    error = await refusal(service.register(email="grace.hopper@example.net", password=password))

    assert (error.reason, [violation.field for violation in error.violations]) == (Reason.INVALID_FIELD, ["password"])


@pytest.mark.parametrize(
    ("fields", "invalid"),
    [
        ({"email": "no address"}, ["email"]),
        ({"email": ""}, ["email"]),
        ({"email": "a@" + "b" * 260 + ".com"}, ["email"]),
        ({"password": "short"}, ["password"]),
        ({"password": "\u00e9" * 65}, ["password"]),
        ({"display_name": "n" * 81}, ["display_name"]),
        ({"display_name": "a\0b"}, ["display_name"]),
        ({"email": "no address", "password": "short"}, ["email", "password"]),
    ],
)
async def test_register_names_every_invalid_field(
    service: UserService, fields: dict[str, str], invalid: list[str]
) -> None:
    error = await refusal(service.register(**fields))

    assert (error.reason, error.code) == (Reason.INVALID_FIELD, Code.INVALID_ARGUMENT)
    assert sorted({violation.field for violation in error.violations}) == invalid


async def test_register_makes_exactly_one_user_when_twenty_race_for_an_address(service: UserService) -> None:
    calls = [service.register(email="race@example.com", display_name=f"racer {number}") for number in range(20)]
    answers = await asyncio.gather(*calls)

    me = await _get_me(service, (await service.login("race@example.com")).access_token)
    assert [answer for answer in answers if answer.user_id == me.user_id] == [me]


async def test_get_me_refuses_call_without_token(service: UserService) -> None:
    error = await refusal(service.users.GetMe(user_service_pb2.GetMeRequest()))

    assert (error.reason, error.code) == (Reason.CREDENTIALS_MISSING, Code.UNAUTHENTICATED)


async def test_get_me_refuses_refresh_token_in_place_of_access_token(service: UserService) -> None:
    pair = await service.session()

    assert (await refusal(_get_me(service, pair.refresh_token))).reason is Reason.TOKEN_INVALID


async def test_get_me_refuses_token_of_deleted_user(service: UserService) -> None:
    user = await service.register()
    pair = await service.login(user.email)
    await _as_administrator(service, "DELETE FROM users.sessions WHERE user_id = $1", UUID(user.user_id))
    await _as_administrator(service, "DELETE FROM users.users WHERE user_id = $1", UUID(user.user_id))

    error = await refusal(_get_me(service, pair.access_token))

    assert (error.reason, error.code, error.metadata) == (
        Reason.USER_NOT_FOUND,
        Code.NOT_FOUND,
        {"user_id": user.user_id},
    )


@pytest.mark.parametrize("mask", [None, FieldMask(), FieldMask(paths=["display_name"])])
async def test_update_me_changes_only_the_callers_name(service: UserService, mask: FieldMask | None) -> None:
    bystander = await service.register(display_name="Bystander")
    user = await service.register(display_name="Before")
    token = (await service.login(user.email)).access_token

    request = user_service_pb2.UpdateMeRequest(display_name=" After ", update_mask=mask)
    changed = await service.users.UpdateMe(request, metadata=bearer(token))
    repeated = await service.users.UpdateMe(request, metadata=bearer(token))

    user.display_name = "After"
    assert changed == repeated == user == await _get_me(service, token)
    assert await _get_me(service, (await service.login(bystander.email)).access_token) == bystander


async def test_update_me_changes_nothing_when_nothing_is_given(service: UserService) -> None:
    user = await service.register(display_name="Same")
    token = (await service.login(user.email)).access_token

    assert await service.users.UpdateMe(user_service_pb2.UpdateMeRequest(), metadata=bearer(token)) == user


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (user_service_pb2.UpdateMeRequest(display_name="New", update_mask=FieldMask(paths=["email"])), "update_mask"),
        (user_service_pb2.UpdateMeRequest(update_mask=FieldMask(paths=["display_name"])), "display_name"),
        (user_service_pb2.UpdateMeRequest(display_name=""), "display_name"),
        (user_service_pb2.UpdateMeRequest(display_name=" \t"), "display_name"),
        (user_service_pb2.UpdateMeRequest(display_name="n" * 81), "display_name"),
        (user_service_pb2.UpdateMeRequest(display_name="two\nlines"), "display_name"),
    ],
)
async def test_update_me_names_invalid_field_and_changes_nothing(
    service: UserService, request_: user_service_pb2.UpdateMeRequest, field: str
) -> None:
    user = await service.register(display_name="Unchanged")
    token = (await service.login(user.email)).access_token

    error = await refusal(service.users.UpdateMe(request_, metadata=bearer(token)))

    assert (error.reason, [violation.field for violation in error.violations]) == (Reason.INVALID_FIELD, [field])
    assert await _get_me(service, token) == user


async def test_get_jwks_publishes_keys_that_verify_access_tokens(service: UserService) -> None:
    user = await service.register()
    token = (await service.login(user.email)).access_token

    keys = (await service.auth.GetJwks(auth_service_pb2.GetJwksRequest())).keys

    members = [{field.name: value for field, value in key.ListFields()} for key in keys]
    assert [sorted(key) for key in members] == [["alg", "crv", "kid", "kty", "use", "x", "y"]]
    assert jwt.get_unverified_header(token) == {"alg": "ES256", "typ": "at+jwt", "kid": members[0]["kid"]}
    claims = AccessTokens(KeySet({"keys": members}), "https://pingvas.studio", "pingvas-api").verify(token)
    assert (str(claims.user_id), str(claims.account_id)) == (user.user_id, user.account_id)
    assert timedelta(seconds=599) <= claims.expire_time - service.clock() <= timedelta(seconds=600)


async def test_service_refuses_to_start_when_its_signing_key_is_not_published(
    service: UserService, tmp_path_factory: pytest.TempPathFactory
) -> None:
    other = write_keys(tmp_path_factory.mktemp("other-keys"))
    settings = user_settings(service.database, service.keys, user_signing_key_file=other.path("users"))

    with pytest.raises(OSError, match="USER_JWKS_FILE has no key"):
        compose(settings)


async def test_lookup_user_finds_address_in_any_case_for_operator(service: UserService) -> None:
    user = await service.register(email="lookup@example.com")

    async with service.directory("operator") as directory:
        found = await directory.LookupUser(_lookup("LookUp@Example.com"))

    assert found == user


@pytest.mark.parametrize("email", ["nobody@example.com", "%"])
async def test_lookup_user_refuses_unknown_address(service: UserService, email: str) -> None:
    async with service.directory("operator") as directory:
        error = await refusal(directory.LookupUser(_lookup(email)))

    assert (error.reason, error.code) == (Reason.USER_NOT_FOUND, Code.NOT_FOUND)


async def test_lookup_user_is_refused_to_everybody_but_operator(service: UserService) -> None:
    token = (await service.session()).access_token

    async with grpc.aio.insecure_channel(service.internal_address) as channel:
        directory = UserDirectoryServiceStub(channel)
        other = service.keys.credential("svc_gallery").token()
        as_service = await refusal(directory.LookupUser(_lookup("a@example.com"), metadata=bearer(other)))
        as_user = await refusal(directory.LookupUser(_lookup("a@example.com"), metadata=bearer(token)))
        anonymous = await refusal(directory.LookupUser(_lookup("a@example.com")))

    assert [error.reason for error in (as_service, as_user, anonymous)] == [
        Reason.CALLER_NOT_ALLOWED,
        Reason.TOKEN_INVALID,
        Reason.CREDENTIALS_MISSING,
    ]


async def test_lookup_user_does_not_exist_on_public_listener(service: UserService) -> None:
    operator = bearer(service.keys.credential("operator").token())

    with pytest.raises(grpc.aio.AioRpcError) as failure:
        await UserDirectoryServiceStub(service.public).LookupUser(_lookup("a@example.com"), metadata=operator)

    assert failure.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_database_holds_neither_passwords_nor_tokens(service: UserService) -> None:
    pair = await service.session()

    connection = await asyncpg.connect(service.database.admin_url)
    try:
        tables = ("users.users", "users.sessions", "users.refresh_tokens", "users.mails", "users.link_tokens")
        rows = [str(await connection.fetch(f"SELECT * FROM {table}")) for table in tables]  # noqa: S608 - constants
    finally:
        await connection.close()

    dump = "\n".join(rows)
    assert "$argon2id$" in dump
    for secret in (PASSWORD, pair.refresh_token[-16:], pair.access_token[-16:]):
        assert secret not in dump


async def _get_me(service: UserService, access_token: str) -> user_pb2.User:
    return await service.users.GetMe(user_service_pb2.GetMeRequest(), metadata=bearer(access_token))


def _lookup(email: str) -> user_directory_service_pb2.LookupUserRequest:
    return user_directory_service_pb2.LookupUserRequest(email=email)


async def _as_administrator(service: UserService, statement: str, *arguments: object) -> None:
    connection = await asyncpg.connect(service.database.admin_url)
    try:
        await connection.execute(statement, *arguments)
    finally:
        await connection.close()
