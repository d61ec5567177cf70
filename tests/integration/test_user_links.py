"""Confirming an address, and setting passwords, by links that a real mail server was handed."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator

import grpc
import pytest
from pingvas.user.v1 import auth_service_pb2, user_pb2, user_service_pb2

from svc_common.clock import new_id
from svc_common.errors import Code, Reason
from tests.factories.user_service import PASSWORD, UserService, bearer, refusal, running_user_service
from tests.harness_mail import MailServer, token_of
from tests.harness_postgres import DatabaseFactory

NEW_PASSWORD = "another good password"


@pytest.fixture(scope="module")
async def service(
    database_for: DatabaseFactory, mail_server: MailServer, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[UserService]:
    folder = tmp_path_factory.mktemp("keys")
    async with running_user_service(await database_for("user"), folder, smtp_url=mail_server.url) as running:
        yield running


@pytest.fixture(scope="module")
async def strict(
    database_for: DatabaseFactory, mail_server: MailServer, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[UserService]:
    """A deployment where an address must be confirmed before anybody logs in, which lets three mails an hour through."""
    folder = tmp_path_factory.mktemp("keys")
    changed = {"smtp_url": mail_server.url, "login_requires_verified_email": True, "mail_burst": 3}
    async with running_user_service(await database_for("user"), folder, **changed) as running:
        yield running


async def verify(service: UserService, token: str) -> auth_service_pb2.VerifyEmailResponse:
    return await service.auth.VerifyEmail(auth_service_pb2.VerifyEmailRequest(token=token))


async def forgot(service: UserService, email: str) -> None:
    await service.auth.ForgotPassword(auth_service_pb2.ForgotPasswordRequest(email=email))


async def reset(service: UserService, token: str, password: str = NEW_PASSWORD) -> str:
    request = auth_service_pb2.ResetPasswordRequest(token=token, new_password=password)
    return (await service.auth.ResetPassword(request)).email


async def change(service: UserService, access_token: str, current: str, new: str = NEW_PASSWORD) -> None:
    request = auth_service_pb2.ChangePasswordRequest(current_password=current, new_password=new)
    await service.auth.ChangePassword(request, metadata=bearer(access_token))


async def me(service: UserService, access_token: str) -> user_pb2.User:
    return await service.users.GetMe(user_service_pb2.GetMeRequest(), metadata=bearer(access_token))


async def test_address_is_confirmed_by_the_mailed_token_once(service: UserService, mail_server: MailServer) -> None:
    user = await service.register()
    token = token_of(await mail_server.mail(user.email))

    confirmed = await verify(service, token)
    again = await refusal(verify(service, token))

    assert confirmed.email == user.email
    assert (again.reason, again.code) == (Reason.LINK_INVALID, Code.FAILED_PRECONDITION)
    assert (await me(service, (await service.login(user.email)).access_token)).email_verified


async def test_link_ends_after_its_life(service: UserService, mail_server: MailServer) -> None:
    late, in_time = await service.register(), await service.register()
    tokens = [token_of(await mail_server.mail(user.email)) for user in (late, in_time)]

    service.clock.advance(hours=47, minutes=59)
    await verify(service, tokens[1])
    service.clock.advance(minutes=2)

    assert (await refusal(verify(service, tokens[0]))).reason is Reason.LINK_INVALID


async def test_another_link_comes_when_it_is_asked_for_and_the_first_stays_good(
    service: UserService, mail_server: MailServer
) -> None:
    user = await service.register()
    request = auth_service_pb2.ResendVerificationRequest(email=user.email.upper())

    await service.auth.ResendVerification(request)

    await mail_server.mail(user.email, 2)
    await verify(service, token_of(await mail_server.mail(user.email)))


@pytest.mark.parametrize("token", ["pvlt_unknown", "x" * 256])
async def test_unknown_token_is_refused(service: UserService, token: str) -> None:
    assert (await refusal(verify(service, token))).reason is Reason.LINK_INVALID
    assert (await refusal(reset(service, token))).reason is Reason.LINK_INVALID


async def test_token_is_good_for_its_own_purpose_only(service: UserService, mail_server: MailServer) -> None:
    user = await service.register()
    verification = token_of(await mail_server.mail(user.email))
    await forgot(service, user.email)
    reset_token = token_of(await mail_server.mail(user.email, 2))

    errors = [await refusal(reset(service, verification)), await refusal(verify(service, reset_token))]

    assert [error.reason for error in errors] == [Reason.LINK_INVALID] * 2
    assert await reset(service, reset_token) == user.email


async def test_reset_sets_the_password_and_ends_every_session(service: UserService, mail_server: MailServer) -> None:
    user = await service.register()
    sessions = [await service.login(user.email) for _ in range(2)]
    await forgot(service, user.email)

    assert await reset(service, token_of(await mail_server.mail(user.email, 2))) == user.email

    for pair in sessions:
        assert (await refusal(service.refresh(pair.refresh_token))).reason is Reason.REFRESH_TOKEN_INVALID
    assert (await refusal(service.login(user.email))).reason is Reason.LOGIN_FAILED
    assert (await me(service, (await service.login(user.email, NEW_PASSWORD)).access_token)).email_verified
    assert (await mail_server.mail(user.email, 3))["Subject"] == "Your password was changed"


async def test_reset_uses_up_all_links_of_the_user(service: UserService, mail_server: MailServer) -> None:
    user = await service.register()
    for number in (2, 3):
        await forgot(service, user.email)
        await mail_server.mail(user.email, number)
    tokens = [token_of(await mail_server.mail(user.email, number)) for number in (2, 3)]

    await reset(service, tokens[1])

    assert (await refusal(reset(service, tokens[0]))).reason is Reason.LINK_INVALID
    assert (await refusal(reset(service, tokens[1]))).reason is Reason.LINK_INVALID


async def test_reset_by_one_token_succeeds_once_when_ten_race(service: UserService, mail_server: MailServer) -> None:
    user = await service.register()
    await forgot(service, user.email)
    token = token_of(await mail_server.mail(user.email, 2))
    passwords = [f"another good password {number}" for number in range(10)]

    calls = [reset(service, token, password) for password in passwords]
    answers = await asyncio.gather(*calls, return_exceptions=True)

    codes = Counter(answer.code() for answer in answers if isinstance(answer, grpc.aio.AioRpcError))
    assert codes == {grpc.StatusCode.FAILED_PRECONDITION: 9}
    await service.login(user.email, passwords[answers.index(user.email)])


async def test_refused_password_leaves_the_link_good(service: UserService, mail_server: MailServer) -> None:
    user = await service.register()
    await forgot(service, user.email)
    token = token_of(await mail_server.mail(user.email, 2))

    # The address is the first thing that somebody tries who knows it.
    errors = [await refusal(reset(service, token, guess)) for guess in ("password123", user.email)]

    assert [[violation.field for violation in error.violations] for error in errors] == [["new_password"]] * 2
    assert await reset(service, token) == user.email


async def test_reset_link_ends_after_half_an_hour(service: UserService, mail_server: MailServer) -> None:
    user = await service.register()
    await forgot(service, user.email)
    token = token_of(await mail_server.mail(user.email, 2))

    service.clock.advance(minutes=30)

    assert (await refusal(reset(service, token))).reason is Reason.LINK_INVALID


async def test_changed_password_ends_other_sessions_and_mailed_links(
    service: UserService, mail_server: MailServer
) -> None:
    user = await service.register()
    mine, other = await service.login(user.email), await service.login(user.email)
    await forgot(service, user.email)
    link = token_of(await mail_server.mail(user.email, 2))

    await change(service, mine.access_token, PASSWORD)

    assert (await refusal(service.refresh(other.refresh_token))).reason is Reason.REFRESH_TOKEN_INVALID
    assert (await refusal(reset(service, link))).reason is Reason.LINK_INVALID
    assert (await service.refresh(mine.refresh_token)).refresh_token
    await service.login(user.email, NEW_PASSWORD)
    assert (await mail_server.mail(user.email, 3))["Subject"] == "Your password was changed"


async def test_password_is_not_changed_by_whoever_does_not_know_it(service: UserService) -> None:
    user = await service.register()
    token = (await service.login(user.email)).access_token

    error = await refusal(change(service, token, "a wrong password"))

    assert (error.reason, error.code) == (Reason.LOGIN_FAILED, Code.UNAUTHENTICATED)
    await service.login(user.email)


async def test_owner_is_told_by_mail_when_somebody_registers_their_address(
    service: UserService, mail_server: MailServer
) -> None:
    user = await service.register(locale="ko")

    await service.register(email=user.email, password=NEW_PASSWORD)

    assert (await mail_server.mail(user.email, 2))["Subject"] == "이 주소로 가입 시도가 있었습니다"


async def test_whoever_registers_and_logs_in_does_not_learn_whether_the_address_was_free(
    strict: UserService, mail_server: MailServer
) -> None:
    owner = await strict.register()
    await verify(strict, token_of(await mail_server.mail(owner.email)))

    taken = await strict.register(email=owner.email, password=NEW_PASSWORD)
    free = await strict.register(password=NEW_PASSWORD)
    errors = [await refusal(strict.login(user.email, NEW_PASSWORD)) for user in (taken, free)]

    assert {(error.reason, error.message, str(error.metadata)) for error in errors} == {
        (Reason.LOGIN_FAILED, errors[0].message, "{}")
    }
    assert _shape(taken) == _shape(free)
    await verify(strict, token_of(await mail_server.mail(free.email)))
    assert (await me(strict, (await strict.login(free.email, NEW_PASSWORD)).access_token)).user_id == free.user_id


async def test_mails_to_one_address_are_limited_alike_whether_anybody_has_it(strict: UserService) -> None:
    known, unknown = (await strict.register()).email, f"{new_id()}@example.com"
    await forgot(strict, unknown)

    for email in (known, unknown):
        await forgot(strict, email)
        await forgot(strict, email)
        error = await refusal(forgot(strict, email))
        assert (error.reason, error.metadata) == (Reason.RATE_LIMITED, {"scope": "mail"})
        assert error.retry_after is not None


def _shape(user: user_pb2.User) -> dict[str, object]:
    """Returns what a caller sees of a new user, without what is drawn or given."""
    return {
        "fields": [field.name for field, _ in user.ListFields()],
        "email_verified": user.email_verified,
        "locale": user.locale,
    }
