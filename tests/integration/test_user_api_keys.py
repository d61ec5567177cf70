"""API keys: made once, exchanged for tokens that are good for their scopes, and gone when they are deleted."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import asyncpg
import jwt
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from pingvas.common.v1 import scope_pb2
from pingvas.user.v1 import api_key_pb2, api_key_service_pb2, auth_service_pb2, user_service_pb2

from svc_common.errors import Code, Reason
from tests.factories.user_service import UserService, bearer, refusal, running_user_service
from tests.harness_mail import MailServer, token_of
from tests.harness_postgres import DatabaseFactory

READ, ADMIN = scope_pb2.SCOPE_READ, scope_pb2.SCOPE_ADMIN


@pytest.fixture(scope="module")
async def service(
    database_for: DatabaseFactory, mail_server: MailServer, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[UserService]:
    folder = tmp_path_factory.mktemp("keys")
    changed = {"smtp_url": mail_server.url, "api_key_environment": "test"}
    async with running_user_service(await database_for("user"), folder, **changed) as running:
        yield running


@pytest.fixture
async def email(service: UserService, mail_server: MailServer) -> str:
    """The confirmed address of a new user."""
    user = await service.register()
    token = token_of(await mail_server.mail(user.email))
    await service.auth.VerifyEmail(auth_service_pb2.VerifyEmailRequest(token=token))
    return user.email


@pytest.fixture
async def owner(service: UserService, email: str) -> str:
    """An access token of that user."""
    return (await service.login(email)).access_token


async def make(service: UserService, token: str, **fields: object) -> api_key_pb2.ApiKey:
    request = api_key_service_pb2.CreateApiKeyRequest(**({"name": "build server", "scopes": [READ]} | fields))
    return await service.api_keys.CreateApiKey(request, metadata=bearer(token))


async def exchange(service: UserService, key: str) -> api_key_service_pb2.ExchangeApiKeyResponse:
    return await service.api_keys.ExchangeApiKey(api_key_service_pb2.ExchangeApiKeyRequest(key=key))


async def listed(service: UserService, token: str, **fields: object) -> api_key_service_pb2.ListApiKeysResponse:
    return await service.api_keys.ListApiKeys(api_key_service_pb2.ListApiKeysRequest(**fields), metadata=bearer(token))


def ahead(service: UserService, **amount: float) -> Timestamp:
    moment = Timestamp()
    moment.FromDatetime(service.clock() + timedelta(**amount))
    return moment


async def test_key_is_shown_once_and_stored_as_its_hash(service: UserService, owner: str) -> None:
    made = await make(service, owner)

    assert made.key.startswith(f"pgv_test_{made.api_key_id}_")
    (again,) = (await listed(service, owner)).api_keys
    assert (again.key, again.name, list(again.scopes)) == ("", "build server", [READ])
    connection = await asyncpg.connect(service.database.admin_url)
    try:
        dump = str(await connection.fetch("SELECT * FROM users.api_keys"))
    finally:
        await connection.close()
    assert made.api_key_id in dump
    assert made.key[-20:] not in dump


async def test_token_of_a_key_may_do_what_its_scopes_allow_and_no_more(service: UserService, owner: str) -> None:
    pair = await exchange(service, (await make(service, owner, scopes=[READ])).key)

    me = await service.users.GetMe(user_service_pb2.GetMeRequest(), metadata=bearer(pair.access_token))
    change = user_service_pb2.UpdateMeRequest(display_name="Other")
    error = await refusal(service.users.UpdateMe(change, metadata=bearer(pair.access_token)))

    assert me.email_verified
    assert (pair.token_type, pair.expires_in) == ("bearer", 60)
    assert (error.reason, error.code) == (Reason.SCOPE_MISSING, Code.PERMISSION_DENIED)
    assert error.metadata == {"scope": "admin", "method": "/pingvas.user.v1.UserService/UpdateMe"}


async def test_no_key_makes_keys_or_ends_sessions_or_changes_passwords(service: UserService, owner: str) -> None:
    none_of_keys = {scope_pb2.SCOPE_UNSPECIFIED, scope_pb2.SCOPE_RECOVER}
    scopes = [scope for scope in scope_pb2.Scope.values() if scope not in none_of_keys]
    token = (await exchange(service, (await make(service, owner, scopes=scopes)).key)).access_token
    change = auth_service_pb2.ChangePasswordRequest(current_password="x", new_password="a very long password")

    errors = [
        await refusal(call)
        for call in (
            make(service, token),
            listed(service, token),
            service.users.ListSessions(user_service_pb2.ListSessionsRequest(), metadata=bearer(token)),
            service.users.RevokeSessions(user_service_pb2.RevokeSessionsRequest(), metadata=bearer(token)),
            service.auth.ChangePassword(change, metadata=bearer(token)),
        )
    ]

    assert [error.reason for error in errors] == [Reason.SCOPE_MISSING] * 5


async def test_key_needs_a_confirmed_address(service: UserService) -> None:
    error = await refusal(make(service, (await service.session()).access_token))

    assert (error.reason, error.code) == (Reason.EMAIL_NOT_VERIFIED, Code.FAILED_PRECONDITION)


async def test_repeated_request_makes_one_key(service: UserService, owner: str) -> None:
    answers = await asyncio.gather(*(make(service, owner, request_id="one") for _ in range(8)))

    assert len({answer.api_key_id for answer in answers}) == 1
    assert sorted(bool(answer.key) for answer in answers) == [False] * 7 + [True]
    other = await refusal(make(service, owner, request_id="one", scopes=[ADMIN]))
    assert other.reason is Reason.IDEMPOTENCY_KEY_REUSED


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"name": ""}, "name"),
        ({"scopes": []}, "scopes"),
        ({"scopes": [READ, READ]}, "scopes"),
        ({"scopes": [0]}, "scopes[0]"),
        ({"expire_time": Timestamp(seconds=1)}, "expire_time"),
    ],
)
async def test_key_of_impossible_terms_is_refused(
    service: UserService, owner: str, fields: dict[str, object], field: str
) -> None:
    error = await refusal(make(service, owner, **fields))

    assert (error.reason, [violation.field for violation in error.violations]) == (Reason.INVALID_FIELD, [field])


async def test_expired_key_is_refused(service: UserService, owner: str) -> None:
    key = (await make(service, owner, expire_time=ahead(service, minutes=5))).key
    service.clock.advance(minutes=4, seconds=59)
    await exchange(service, key)
    service.clock.advance(seconds=1)

    assert (await refusal(exchange(service, key))).reason is Reason.API_KEY_INVALID


async def test_deleted_key_is_refused_and_others_stay(service: UserService, owner: str) -> None:
    gone, stays = await make(service, owner), await make(service, owner)
    stranger = (await service.session()).access_token
    request = api_key_service_pb2.DeleteApiKeyRequest(api_key_id=gone.api_key_id)

    await service.api_keys.DeleteApiKey(request, metadata=bearer(stranger))
    await exchange(service, gone.key)
    for _ in range(2):
        await service.api_keys.DeleteApiKey(request, metadata=bearer(owner))

    assert (await refusal(exchange(service, gone.key))).reason is Reason.API_KEY_INVALID
    assert (await exchange(service, stays.key)).access_token


async def test_key_with_another_secret_is_refused(service: UserService, owner: str) -> None:
    one, two = await make(service, owner), await make(service, owner)
    mixed = one.key.replace(one.api_key_id, two.api_key_id)

    for key in (mixed, "pgv_test_unknown", "x"):
        error = await refusal(exchange(service, key))
        assert (error.reason, error.code) == (Reason.API_KEY_INVALID, Code.UNAUTHENTICATED)


async def test_list_tells_last_use_and_pages(service: UserService, owner: str) -> None:
    keys = [await make(service, owner, name=f"key {number}") for number in range(3)]
    await exchange(service, keys[0].key)

    first = await listed(service, owner, page_size=2)
    second = await listed(service, owner, page_size=2, page_token=first.next_page_token)

    found = [*first.api_keys, *second.api_keys]
    assert {key.name for key in found} == {"key 0", "key 1", "key 2"}
    assert second.next_page_token == ""
    used = next(key for key in found if key.name == "key 0")
    assert used.last_use_time.ToDatetime(service.clock().tzinfo) == service.clock()
    assert [key.HasField("last_use_time") for key in found if key.name != "key 0"] == [False, False]


async def test_reset_password_ends_all_keys(
    service: UserService, mail_server: MailServer, email: str, owner: str
) -> None:
    key = (await make(service, owner)).key
    await service.auth.ForgotPassword(auth_service_pb2.ForgotPasswordRequest(email=email))
    token = token_of(await mail_server.mail(email, 2))
    request = auth_service_pb2.ResetPasswordRequest(token=token, new_password="another good password")

    await service.auth.ResetPassword(request)

    assert (await refusal(exchange(service, key))).reason is Reason.API_KEY_INVALID


LIMITS = {
    "credits_a_day": "5.5",
    "credits_a_month": "100",
    "model_ids": ["sdxl", "pingvas-tiny"],
    "largest_side_px": 768,
}


def limits_in(token: str) -> dict[str, object]:
    """Returns what an access token says of its key."""
    claims: dict[str, object] = jwt.decode(token, options={"verify_signature": False})["key"]
    return claims


async def test_no_key_is_for_closed_accounts(service: UserService, owner: str) -> None:
    error = await refusal(make(service, owner, scopes=[scope_pb2.SCOPE_RECOVER]))
    assert error.reason is Reason.INVALID_FIELD


async def test_limits_of_a_key_are_kept_and_travel_with_its_tokens(service: UserService, owner: str) -> None:
    made = await make(service, owner, limits=api_key_pb2.ApiKeyLimits(**LIMITS))
    (again,) = (await listed(service, owner)).api_keys

    assert again.limits == made.limits
    assert (made.limits.credits_a_day, made.limits.credits_a_month) == ("5.500", "100.000")
    assert limits_in((await exchange(service, made.key)).access_token) == {
        "id": made.api_key_id,
        "day": 5500,
        "month": 100_000,
        "models": ["pingvas-tiny", "sdxl"],
        "side": 768,
    }
    plain = await make(service, owner)
    assert limits_in((await exchange(service, plain.key)).access_token) == {"id": plain.api_key_id}


async def test_changed_limits_count_for_the_next_token(service: UserService, owner: str) -> None:
    made = await make(service, owner, limits=api_key_pb2.ApiKeyLimits(**LIMITS))

    limits = api_key_pb2.ApiKeyLimits(credits_a_day="0")
    request = api_key_service_pb2.UpdateApiKeyRequest(api_key_id=made.api_key_id, limits=limits)
    changed = await service.api_keys.UpdateApiKey(request, metadata=bearer(owner))
    renamed = await service.api_keys.UpdateApiKey(
        api_key_service_pb2.UpdateApiKeyRequest(api_key_id=made.api_key_id, name="deploy"), metadata=bearer(owner)
    )

    assert (changed.limits.credits_a_day, changed.name, changed.key) == ("0.000", "build server", "")
    assert (renamed.limits, renamed.name) == (changed.limits, "deploy")
    claims = limits_in((await exchange(service, made.key)).access_token)
    assert claims == {"id": made.api_key_id, "day": 0}


async def test_key_of_somebody_else_is_not_changed(service: UserService, owner: str) -> None:
    made = await make(service, owner)
    stranger = (await service.session()).access_token
    request = api_key_service_pb2.UpdateApiKeyRequest(api_key_id=made.api_key_id, name="mine")
    error = await refusal(service.api_keys.UpdateApiKey(request, metadata=bearer(stranger)))
    assert (error.reason, error.violations[0].field) == (Reason.INVALID_FIELD, "api_key_id")


@pytest.mark.parametrize("amount", ["-1", "1.2345", "much"])
async def test_limit_that_is_no_amount_is_refused(service: UserService, owner: str, amount: str) -> None:
    limits = api_key_pb2.ApiKeyLimits(credits_a_month=amount)
    error = await refusal(make(service, owner, limits=limits))
    assert (error.reason, error.violations[0].field) == (Reason.INVALID_FIELD, "limits.credits_a_month")


async def test_repetition_with_other_limits_is_refused(service: UserService, owner: str) -> None:
    limits = api_key_pb2.ApiKeyLimits(**LIMITS)
    first = await make(service, owner, request_id="limited", limits=limits)
    again = await make(service, owner, request_id="limited", limits=limits)
    other = await refusal(make(service, owner, request_id="limited"))
    assert (again.api_key_id, other.reason) == (first.api_key_id, Reason.IDEMPOTENCY_KEY_REUSED)
