"""A change of address: confirmed at the new one, told to the old one, and undone from there by an owner who was robbed."""

import asyncio
import itertools
from collections import Counter
from collections.abc import AsyncIterator, Awaitable
from email.message import EmailMessage

import asyncpg
import pyotp
import pytest
from pingvas.common.v1 import scope_pb2
from pingvas.user.v1 import (
    api_key_service_pb2,
    audit_service_pb2,
    auth_service_pb2,
    email_service_pb2,
    second_factor_service_pb2,
    user_pb2,
    user_service_pb2,
)
from pingvas.user.v1.audit_event_pb2 import AuditEventKind
from pingvas.user.v1.audit_service_pb2_grpc import AuditServiceStub

from svc_common.errors import Code, Reason, ServiceError
from tests.factories.user_service import PASSWORD, UserService, bearer, refusal, running_user_service
from tests.harness_mail import MailServer, text_of, token_of
from tests.harness_postgres import DatabaseFactory

NEW_PASSWORD = "another good password"
CHANGED, RESET = "Your e-mail address was changed", "Choose a new password"
_numbers = itertools.count(1)


@pytest.fixture(scope="module")
async def service(
    database_for: DatabaseFactory, mail_server: MailServer, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[UserService]:
    folder = tmp_path_factory.mktemp("keys")
    async with running_user_service(await database_for("user"), folder, smtp_url=mail_server.url) as running:
        yield running


@pytest.fixture
def new_email() -> str:
    return f"new-{next(_numbers)}@example.net"


@pytest.fixture
async def ada(service: UserService, mail_server: MailServer) -> user_pb2.User:
    """A user whose address is confirmed."""
    user = await service.register(locale="en")
    token = token_of(await mail_server.mail(user.email))
    await service.auth.VerifyEmail(auth_service_pb2.VerifyEmailRequest(token=token))
    return user


async def mailed(mail_server: MailServer, address: str, subject: str) -> EmailMessage:
    """Returns the first mail to an address with a subject; mails overtake each other."""
    for number in itertools.count(1):
        mail = await mail_server.mail(address, number)
        if mail["Subject"] == subject:
            return mail
    raise AssertionError("unreachable")


async def sign_in(service: UserService, email: str, password: str = PASSWORD) -> str:
    return (await service.login(email, password)).access_token


async def ask(service: UserService, token: str, email: str, password: str = PASSWORD) -> None:
    request = email_service_pb2.ChangeEmailRequest(new_email=email, current_password=password)
    await service.emails.ChangeEmail(request, metadata=bearer(token))


async def confirm(service: UserService, access_token: str, token: str) -> str:
    request = email_service_pb2.ConfirmEmailChangeRequest(token=token)
    return (await service.emails.ConfirmEmailChange(request, metadata=bearer(access_token))).email


async def undo(service: UserService, token: str) -> str:
    return (await service.emails.UndoEmailChange(email_service_pb2.UndoEmailChangeRequest(token=token))).email


async def me(service: UserService, access_token: str) -> user_pb2.User:
    return await service.users.GetMe(user_service_pb2.GetMeRequest(), metadata=bearer(access_token))


async def change(service: UserService, mail_server: MailServer, token: str, email: str) -> None:
    await ask(service, token, email)
    await confirm(service, token, token_of(await mail_server.mail(email)))


async def test_new_address_counts_once_it_is_confirmed_and_the_old_one_is_told(
    service: UserService, mail_server: MailServer, ada: user_pb2.User, new_email: str
) -> None:
    token = await sign_in(service, ada.email)

    await ask(service, token, new_email.upper())
    link = token_of(await mail_server.mail(new_email))
    before = await me(service, token)
    confirmed = await confirm(service, token, link)

    assert (before.email, confirmed) == (ada.email, new_email)
    after = await me(service, token)
    assert (after.email, after.email_verified) == (new_email, True)
    told = await mailed(mail_server, ada.email, CHANGED)
    assert new_email not in text_of(told)
    assert await sign_in(service, new_email)
    assert (await refusal(service.login(ada.email))).reason is Reason.LOGIN_FAILED
    assert (await refusal(confirm(service, token, link))).reason is Reason.LINK_INVALID


async def turn_on_second_factor(service: UserService, token: str) -> tuple[pyotp.TOTP, list[str]]:
    """Returns the user's app and their recovery codes."""
    setup = await service.second_factors.BeginSecondFactor(
        second_factor_service_pb2.BeginSecondFactorRequest(), metadata=bearer(token)
    )
    app = pyotp.TOTP(setup.secret)
    request = second_factor_service_pb2.ConfirmSecondFactorRequest(code=app.at(service.clock()))
    codes = await service.second_factors.ConfirmSecondFactor(request, metadata=bearer(token))
    return app, list(codes.codes)


async def test_password_needs_a_code_beside_it_from_whoever_has_a_second_factor(
    service: UserService, mail_server: MailServer, ada: user_pb2.User, new_email: str
) -> None:
    token = await sign_in(service, ada.email)
    app, recovery_codes = await turn_on_second_factor(service, token)
    # Turning it on ends all access tokens.
    pair = await service.login(ada.email)
    step = auth_service_pb2.VerifySecondFactorRequest(challenge=pair.second_factor.challenge, code=recovery_codes.pop())
    token = (await service.auth.VerifySecondFactor(step)).access_token
    confirmed = app.at(service.clock())

    async def ask_with(code: str, password: str = PASSWORD) -> None:
        request = email_service_pb2.ChangeEmailRequest(new_email=new_email, current_password=password, code=code)
        await service.emails.ChangeEmail(request, metadata=bearer(token))

    assert (await refusal(ask_with(""))).reason is Reason.SECOND_FACTOR_CODE_MISSING
    # The one that turned the factor on was used by that, and no code makes up for a wrong password.
    for code in ("000000", confirmed, "aaaa-bbbb-cccc-dddd"):
        assert (await refusal(ask_with(code))).reason is Reason.SECOND_FACTOR_FAILED
    assert (await refusal(ask_with(recovery_codes[0], "wrong password"))).reason is Reason.LOGIN_FAILED
    await ask_with(recovery_codes[0])
    assert await mail_server.mail(new_email)
    assert (await refusal(ask_with(recovery_codes[0]))).reason is Reason.SECOND_FACTOR_FAILED
    # Whoever has just signed in has shown everything.
    await ask_with("", password="")


async def test_change_and_its_undoing_are_in_the_audit_log(
    service: UserService, mail_server: MailServer, ada: user_pb2.User, new_email: str
) -> None:
    token = await sign_in(service, ada.email)
    await change(service, mail_server, token, new_email)
    await undo(service, token_of(await mailed(mail_server, ada.email, CHANGED)))

    reset = token_of(await mailed(mail_server, ada.email, RESET))
    request = auth_service_pb2.ResetPasswordRequest(token=reset, new_password=NEW_PASSWORD)
    await service.auth.ResetPassword(request)
    listed = await AuditServiceStub(service.public).ListAuditEvents(
        audit_service_pb2.ListAuditEventsRequest(), metadata=bearer(await sign_in(service, ada.email, NEW_PASSWORD))
    )
    told = [(AuditEventKind.Name(event.kind).removeprefix("AUDIT_EVENT_KIND_"), event.actor) for event in listed.events]
    owner = f"user:{ada.user_id}"
    changes = [each for each in reversed(told) if each[0].startswith("EMAIL_CHANGE")]
    assert changes == [
        ("EMAIL_CHANGE_REQUESTED", owner),
        ("EMAIL_CHANGED", owner),
        ("EMAIL_CHANGE_UNDONE", owner),
    ]
    assert not any(ada.email in str(event) or new_email in str(event) for event in listed.events)


async def test_change_ends_other_sessions_and_links(
    service: UserService, mail_server: MailServer, ada: user_pb2.User, new_email: str
) -> None:
    token, other = await sign_in(service, ada.email), await service.login(ada.email)
    await service.auth.ForgotPassword(auth_service_pb2.ForgotPasswordRequest(email=ada.email))
    reset_link = token_of(await mailed(mail_server, ada.email, RESET))

    await change(service, mail_server, token, new_email)

    assert (await refusal(service.refresh(other.refresh_token))).reason is Reason.REFRESH_TOKEN_INVALID
    request = auth_service_pb2.ResetPasswordRequest(token=reset_link, new_password=NEW_PASSWORD)
    assert (await refusal(service.auth.ResetPassword(request))).reason is Reason.LINK_INVALID


async def test_change_needs_the_password_or_a_session_that_has_just_begun(
    service: UserService, mail_server: MailServer, ada: user_pb2.User, new_email: str
) -> None:
    token = await sign_in(service, ada.email)
    wrong = await refusal(ask(service, token, new_email, "not the password"))
    assert (wrong.reason, wrong.code) == (Reason.LOGIN_FAILED, Code.UNAUTHENTICATED)

    service.clock.advance(minutes=9, seconds=59)
    await ask(service, token, new_email, password="")
    await mail_server.mail(new_email)
    service.clock.advance(seconds=2)
    late = await refusal(ask(service, token, new_email, password=""))
    assert (late.reason, late.code) == (Reason.FRESH_SIGN_IN_REQUIRED, Code.FAILED_PRECONDITION)
    # A renewed session isn't a new one.
    await ask(service, token, new_email)


async def test_session_that_was_ended_is_no_proof(service: UserService, ada: user_pb2.User, new_email: str) -> None:
    pair = await service.login(ada.email)
    await service.logout(pair.refresh_token)
    error = await refusal(ask(service, pair.access_token, new_email, password=""))
    assert error.reason is Reason.FRESH_SIGN_IN_REQUIRED


async def test_link_is_good_for_the_user_who_asked_only(
    service: UserService, mail_server: MailServer, ada: user_pb2.User, new_email: str
) -> None:
    token = await sign_in(service, ada.email)
    await ask(service, token, new_email)
    link = token_of(await mail_server.mail(new_email))
    stranger = (await service.session()).access_token

    error = await refusal(confirm(service, stranger, link))

    assert error.reason is Reason.LINK_INVALID
    assert await confirm(service, token, link) == new_email


async def test_link_ends_after_a_day(
    service: UserService, mail_server: MailServer, ada: user_pb2.User, new_email: str
) -> None:
    token = await sign_in(service, ada.email)
    await ask(service, token, new_email)
    link = token_of(await mail_server.mail(new_email))
    service.clock.advance(hours=24, seconds=1)
    assert (await refusal(confirm(service, token, link))).reason is Reason.LINK_INVALID


async def test_address_of_somebody_is_answered_alike_and_its_owner_is_told(
    service: UserService, mail_server: MailServer, ada: user_pb2.User
) -> None:
    owner = await service.register(locale="en")
    await mail_server.mail(owner.email)

    await ask(service, await sign_in(service, ada.email), owner.email)

    told = await mailed(mail_server, owner.email, "Somebody tried to register with your address")
    assert "confirm-email" not in text_of(told)


async def test_own_address_is_refused(service: UserService, ada: user_pb2.User) -> None:
    error = await refusal(ask(service, await sign_in(service, ada.email), ada.email.upper()))
    assert (error.reason, error.violations[0].field) == (Reason.INVALID_FIELD, "new_email")


async def test_owner_takes_the_address_back_from_a_thief_who_has_changed_everything(
    service: UserService, mail_server: MailServer, ada: user_pb2.User, new_email: str
) -> None:
    thief = await service.login(ada.email)
    key = await service.api_keys.CreateApiKey(
        api_key_service_pb2.CreateApiKeyRequest(name="backdoor", scopes=[scope_pb2.SCOPE_READ]),
        metadata=bearer(thief.access_token),
    )
    await change(service, mail_server, thief.access_token, new_email)
    change_password = auth_service_pb2.ChangePasswordRequest(current_password=PASSWORD, new_password=NEW_PASSWORD)
    await service.auth.ChangePassword(change_password, metadata=bearer(thief.access_token))
    await change_again(service, mail_server, thief.access_token, f"again-{new_email}")
    link = token_of(await mailed(mail_server, ada.email, CHANGED))
    thiefs_link = token_of(await mailed(mail_server, new_email, CHANGED))

    service.clock.advance(days=6)
    assert await undo(service, link) == ada.email

    for address in (new_email, f"again-{new_email}", ada.email):
        assert (await refusal(service.login(address, NEW_PASSWORD))).reason is Reason.LOGIN_FAILED
    assert (await refusal(service.refresh(thief.refresh_token))).reason is Reason.REFRESH_TOKEN_INVALID
    exchange = service.api_keys.ExchangeApiKey(api_key_service_pb2.ExchangeApiKeyRequest(key=key.key))
    assert (await refusal(exchange)).reason is Reason.API_KEY_INVALID
    assert (await refusal(undo(service, link))).reason is Reason.LINK_INVALID
    # The thief's own way back is gone as well.
    assert (await refusal(undo(service, thiefs_link))).reason is Reason.LINK_INVALID
    reset = auth_service_pb2.ResetPasswordRequest(
        token=token_of(await mailed(mail_server, ada.email, RESET)), new_password="a password of the owner"
    )
    assert (await service.auth.ResetPassword(reset)).email == ada.email
    assert await sign_in(service, ada.email, "a password of the owner")


async def change_again(service: UserService, mail_server: MailServer, token: str, email: str) -> None:
    """Changes the address of somebody who has another password by now."""
    await ask(service, token, email, NEW_PASSWORD)
    await confirm(service, token, token_of(await mail_server.mail(email)))


async def test_undoing_ends_after_seven_days(
    service: UserService, mail_server: MailServer, ada: user_pb2.User, new_email: str
) -> None:
    await change(service, mail_server, await sign_in(service, ada.email), new_email)
    link = token_of(await mailed(mail_server, ada.email, CHANGED))
    service.clock.advance(days=7, seconds=1)
    assert (await refusal(undo(service, link))).reason is Reason.LINK_INVALID


async def test_nobody_takes_an_address_that_can_be_had_back(
    service: UserService, mail_server: MailServer, ada: user_pb2.User, new_email: str
) -> None:
    await change(service, mail_server, await sign_in(service, ada.email), new_email)

    await service.register(email=ada.email, password=NEW_PASSWORD)
    squatted = await refusal(service.login(ada.email, NEW_PASSWORD))
    stranger = (await service.session()).access_token
    await ask(service, stranger, ada.email)

    assert squatted.reason is Reason.LOGIN_FAILED
    assert await undo(service, token_of(await mailed(mail_server, ada.email, CHANGED))) == ada.email
    # Whoever has the address again gets its mail; until then nobody was mailed a link to it.
    subjects = [str(mail["Subject"]) for mail in mail_server.to(ada.email)]
    assert "Confirm your new e-mail address" not in subjects


async def test_address_is_free_once_it_cannot_be_had_back(
    service: UserService, mail_server: MailServer, ada: user_pb2.User, new_email: str
) -> None:
    await change(service, mail_server, await sign_in(service, ada.email), new_email)
    service.clock.advance(days=7, seconds=1)
    await service.register(email=ada.email, password=NEW_PASSWORD)
    assert await sign_in(service, ada.email, NEW_PASSWORD)


async def test_address_that_was_never_confirmed_is_corrected_without_telling_it(
    service: UserService, mail_server: MailServer, new_email: str
) -> None:
    user = await service.register(email=f"typo-{new_email}")
    token = await sign_in(service, user.email)
    await mail_server.mail(user.email)

    await change(service, mail_server, token, new_email)

    assert (await me(service, token)).email_verified
    # Whoever has that mailbox needn't be the user: they get no link into the account, and may register.
    assert len(mail_server.to(user.email)) == 1
    await service.register(email=user.email, password=NEW_PASSWORD)
    assert await sign_in(service, user.email, NEW_PASSWORD)
    connection = await asyncpg.connect(service.database.admin_url)
    try:
        welcomes = "SELECT count(*) FROM users.welcomes WHERE account_id = $1"
        assert await connection.fetchval(welcomes, user.account_id) == 1
    finally:
        await connection.close()


async def test_one_of_many_gets_an_address_that_all_want_at_once(
    service: UserService, mail_server: MailServer, new_email: str
) -> None:
    tokens = [(await service.session()).access_token for _ in range(4)]
    await asyncio.gather(*(ask(service, token, new_email) for token in tokens))
    links = [token_of(await mail_server.mail(new_email, number)) for number in range(1, 5)]
    # Which link is whose isn't told; each is good for one of them.
    attempts = [confirm(service, token, link) for token in tokens for link in links]

    outcomes = Counter(await asyncio.gather(*map(_outcome, attempts)))

    assert outcomes["confirmed"] == 1
    assert set(outcomes) == {"confirmed", Reason.LINK_INVALID, Reason.EMAIL_TAKEN}


async def _outcome(call: Awaitable[object]) -> str:
    try:
        return (await refusal(call)).reason
    except AssertionError:
        return "confirmed"
    except ServiceError as error:
        return error.reason
