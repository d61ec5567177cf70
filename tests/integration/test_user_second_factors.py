"""Second factors: setting one up, the second step of signing in, codes that work once, and recovery."""

import asyncio
from collections.abc import AsyncIterator

import asyncpg
import pyotp
import pytest
from pingvas.common.v1 import role_pb2
from pingvas.user.v1 import account_admin_service_pb2 as admin_pb2
from pingvas.user.v1 import auth_service_pb2, second_factor_service_pb2, user_directory_service_pb2, user_service_pb2
from pingvas.user.v1.account_admin_service_pb2_grpc import AccountAdminServiceStub

from svc_common.errors import Code, Reason
from tests.factories.user_service import PASSWORD, UserService, bearer, refusal, running_user_service
from tests.harness_mail import MailServer, token_of
from tests.harness_postgres import DatabaseFactory

FIRST = "root@example.com"


@pytest.fixture(scope="module")
async def service(
    database_for: DatabaseFactory, mail_server: MailServer, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[UserService]:
    """A svc_user on which administrators need a second factor."""
    folder = tmp_path_factory.mktemp("keys")
    settings = {"administrators_need_second_factor": True, "smtp_url": mail_server.url}
    async with running_user_service(await database_for("user"), folder, **settings) as service:
        yield service


class Person:
    """Somebody with an authenticator app, whose clock is the service's."""

    def __init__(self, service: UserService, email: str, token: str) -> None:
        self.service = service
        self.email = email
        self.token = token
        self.secret = ""
        self.recovery_codes: list[str] = []

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        return bearer(self.token)

    def code(self) -> str:
        """Returns the app's next code: the clock moves on to where none was used."""
        self.service.clock.advance(seconds=30)
        return self.present_code()

    def present_code(self) -> str:
        return pyotp.TOTP(self.secret).at(self.service.clock())

    async def begin(self) -> second_factor_service_pb2.SecondFactorSetup:
        request = second_factor_service_pb2.BeginSecondFactorRequest()
        setup = await self.service.second_factors.BeginSecondFactor(request, metadata=self.metadata)
        self.secret = setup.secret
        return setup

    async def confirm(self, code: str) -> second_factor_service_pb2.RecoveryCodes:
        request = second_factor_service_pb2.ConfirmSecondFactorRequest(code=code)
        return await self.service.second_factors.ConfirmSecondFactor(request, metadata=self.metadata)

    async def disable(self, code: str) -> second_factor_service_pb2.SecondFactor:
        request = second_factor_service_pb2.DisableSecondFactorRequest(code=code)
        return await self.service.second_factors.DisableSecondFactor(request, metadata=self.metadata)

    async def replace_codes(self, code: str) -> second_factor_service_pb2.RecoveryCodes:
        request = second_factor_service_pb2.ReplaceRecoveryCodesRequest(code=code)
        return await self.service.second_factors.ReplaceRecoveryCodes(request, metadata=self.metadata)

    async def state(self) -> second_factor_service_pb2.SecondFactor:
        request = second_factor_service_pb2.GetSecondFactorRequest()
        return await self.service.second_factors.GetSecondFactor(request, metadata=self.metadata)

    async def first_step(self) -> str:
        pair = await self.service.login(self.email)
        assert (pair.access_token, pair.refresh_token) == ("", "")
        return pair.second_factor.challenge

    async def second_step(self, challenge: str, code: str) -> auth_service_pb2.TokenPair:
        request = auth_service_pb2.VerifySecondFactorRequest(challenge=challenge, code=code)
        return await self.service.auth.VerifySecondFactor(request)

    async def sign_in(self) -> auth_service_pb2.TokenPair:
        pair = await self.second_step(await self.first_step(), self.code())
        self.token = pair.access_token
        return pair

    async def turn_on(self) -> None:
        """Turns the factor on, and takes the new access token that is needed then."""
        await self.begin()
        self.recovery_codes = list((await self.confirm(self.code())).codes)
        await self.sign_in()


@pytest.fixture
async def person(service: UserService) -> Person:
    user = await service.register()
    return Person(service, user.email, (await service.login(user.email)).access_token)


@pytest.fixture
async def guarded(person: Person) -> Person:
    """Somebody who has a second factor."""
    await person.turn_on()
    return person


async def test_set_up_counts_when_a_code_confirms_it(service: UserService, person: Person) -> None:
    setup = await person.begin()
    assert pyotp.parse_uri(setup.otpauth_url).secret == setup.secret
    assert person.email.replace("@", "%40") in setup.otpauth_url
    assert not (await person.state()).is_on
    assert (await service.login(person.email)).access_token

    refused = await refusal(person.confirm("000000" if person.present_code() != "000000" else "111111"))
    assert (refused.reason, refused.code, refused.metadata["cause"]) == (
        Reason.SECOND_FACTOR_FAILED,
        Code.UNAUTHENTICATED,
        "code",
    )
    codes = (await person.confirm(person.code())).codes

    assert len(set(codes)) == 10
    await person.sign_in()
    state = await person.state()
    assert (state.is_on, state.recovery_code_count, state.is_required) == (True, 10, False)


async def test_beginning_again_draws_another_secret(person: Person) -> None:
    first = (await person.begin()).secret
    old_code = pyotp.TOTP(first).at(person.service.clock())
    second = (await person.begin()).secret

    assert first != second
    assert (await refusal(person.confirm(old_code))).reason is Reason.SECOND_FACTOR_FAILED
    await person.confirm(person.code())


async def test_factor_that_is_on_is_not_replaced_without_its_code(guarded: Person) -> None:
    refused = await refusal(guarded.begin())
    assert (refused.reason, refused.metadata["cause"]) == (Reason.SECOND_FACTOR_FAILED, "on")


async def test_confirming_ends_all_other_sessions_and_is_told_by_mail(
    service: UserService, person: Person, mail_server: MailServer
) -> None:
    other = await service.login(person.email)
    mine = await service.login(person.email)
    person.token = mine.access_token
    await person.begin()

    await person.confirm(person.code())

    assert (await refusal(service.refresh(other.refresh_token))).reason is Reason.REFRESH_TOKEN_INVALID
    assert (await service.refresh(mine.refresh_token)).access_token
    mail = await mail_server.mail(person.email, 2)
    assert mail["Subject"] == "Two-step sign-in is on"
    assert person.secret not in mail.as_string()


async def test_no_session_begins_before_the_second_step(service: UserService, guarded: Person) -> None:
    before = len(
        (await service.users.ListSessions(user_service_pb2.ListSessionsRequest(), metadata=guarded.metadata)).sessions
    )

    challenge = await guarded.first_step()

    listed = await service.users.ListSessions(user_service_pb2.ListSessionsRequest(), metadata=guarded.metadata)
    assert len(listed.sessions) == before
    # A challenge opens nothing else.
    assert (await refusal(service.refresh(challenge))).reason is Reason.REFRESH_TOKEN_INVALID
    request = user_service_pb2.GetMeRequest()
    assert (await refusal(service.users.GetMe(request, metadata=bearer(challenge)))).reason is Reason.TOKEN_INVALID


async def test_code_works_once(guarded: Person) -> None:
    code = guarded.code()
    assert (await guarded.second_step(await guarded.first_step(), code)).access_token

    assert (await refusal(guarded.second_step(await guarded.first_step(), code))).reason is Reason.SECOND_FACTOR_FAILED


async def test_of_two_calls_with_one_code_one_gets_in(guarded: Person) -> None:
    challenge, code = await guarded.first_step(), guarded.code()

    ends = await asyncio.gather(*(guarded.second_step(challenge, code) for _ in range(5)), return_exceptions=True)

    assert sum(isinstance(end, auth_service_pb2.TokenPair) for end in ends) == 1


async def test_code_of_the_step_before_works_unless_a_later_one_was_used(guarded: Person) -> None:
    late = guarded.code()
    guarded.service.clock.advance(seconds=30)
    assert (await guarded.second_step(await guarded.first_step(), late)).access_token
    guarded.service.clock.advance(seconds=30)
    older = guarded.present_code()
    guarded.service.clock.advance(seconds=30)
    assert (await guarded.second_step(await guarded.first_step(), guarded.present_code())).access_token

    assert (await refusal(guarded.second_step(await guarded.first_step(), older))).reason is Reason.SECOND_FACTOR_FAILED


async def test_code_that_is_two_steps_old_is_refused(guarded: Person) -> None:
    old = guarded.code()
    guarded.service.clock.advance(seconds=60)

    assert (await refusal(guarded.second_step(await guarded.first_step(), old))).reason is Reason.SECOND_FACTOR_FAILED


async def test_challenge_expires_and_can_not_be_made_up(guarded: Person) -> None:
    challenge = await guarded.first_step()
    refused = await refusal(guarded.second_step(challenge[:-4] + "AAAA", guarded.code()))
    assert (refused.reason, refused.metadata["cause"]) == (Reason.SECOND_FACTOR_FAILED, "challenge")

    guarded.service.clock.advance(minutes=6)

    refused = await refusal(guarded.second_step(challenge, guarded.code()))
    assert (refused.reason, refused.metadata["cause"]) == (Reason.SECOND_FACTOR_FAILED, "challenge")


async def test_recovery_code_stands_in_once_however_it_is_typed(guarded: Person) -> None:
    code = guarded.recovery_codes[0]
    typed = code.upper().replace("-", " ")
    guarded.token = (await guarded.second_step(await guarded.first_step(), typed)).access_token

    assert (await guarded.state()).recovery_code_count == 9
    assert (await refusal(guarded.second_step(await guarded.first_step(), code))).reason is Reason.SECOND_FACTOR_FAILED


async def test_recovery_code_of_somebody_else_is_refused(service: UserService, guarded: Person) -> None:
    user = await service.register()
    other = Person(service, user.email, (await service.login(user.email)).access_token)
    await other.turn_on()

    taken = other.recovery_codes[0]
    assert (await refusal(guarded.second_step(await guarded.first_step(), taken))).reason is Reason.SECOND_FACTOR_FAILED


async def test_replaced_recovery_codes_end(guarded: Person) -> None:
    old = guarded.recovery_codes[1]
    assert (await refusal(guarded.replace_codes("wrong"))).reason is Reason.SECOND_FACTOR_FAILED

    new = (await guarded.replace_codes(guarded.code())).codes

    assert len(new) == 10
    assert (await refusal(guarded.second_step(await guarded.first_step(), old))).reason is Reason.SECOND_FACTOR_FAILED
    assert (await guarded.second_step(await guarded.first_step(), new[3])).access_token


async def test_turning_off_needs_a_code_and_ends_the_second_step(service: UserService, guarded: Person) -> None:
    assert (await refusal(guarded.disable("123 456"))).reason is Reason.SECOND_FACTOR_FAILED
    assert not (await guarded.disable(guarded.code())).is_on

    assert (await service.login(guarded.email)).access_token


async def test_wrong_codes_are_slowed_down_and_a_right_password_forgives_none(
    service: UserService, guarded: Person
) -> None:
    challenge = await guarded.first_step()
    reasons = []
    for _ in range(16):
        # The password is right each time.
        challenge = await guarded.first_step()
        reasons.append((await refusal(guarded.second_step(challenge, "not a code"))).reason)

    assert reasons[0] is Reason.SECOND_FACTOR_FAILED
    assert reasons[-1] is Reason.RATE_LIMITED
    refused = await refusal(guarded.second_step(challenge, guarded.code()))
    assert (refused.reason, refused.retry_after is not None) == (Reason.RATE_LIMITED, True)


async def test_new_password_ends_challenges(service: UserService, guarded: Person, mail_server: MailServer) -> None:
    challenge = await guarded.first_step()
    await service.auth.ForgotPassword(auth_service_pb2.ForgotPasswordRequest(email=guarded.email))
    # Behind those that confirm the address and tell of the second factor.
    token = token_of(await mail_server.mail(guarded.email, 3))
    await service.auth.ResetPassword(auth_service_pb2.ResetPasswordRequest(token=token, new_password=PASSWORD))

    refused = await refusal(guarded.second_step(challenge, guarded.code()))
    assert (refused.reason, refused.metadata["cause"]) == (Reason.SECOND_FACTOR_FAILED, "challenge")


async def test_administrator_acts_only_with_a_second_factor(service: UserService, guarded: Person) -> None:
    request = user_directory_service_pb2.EnsureAdministratorRequest(email=FIRST, password=PASSWORD)
    async with service.directory("operator") as directory:
        await directory.EnsureAdministrator(request)
    root = Person(service, FIRST, (await service.login(FIRST)).access_token)
    accounts = AccountAdminServiceStub(service.public)
    user_id = (await service.users.GetMe(user_service_pb2.GetMeRequest(), metadata=guarded.metadata)).user_id
    reset = admin_pb2.ResetSecondFactorRequest(user_id=user_id)

    refused = await refusal(accounts.ResetSecondFactor(reset, metadata=root.metadata))
    assert (refused.reason, refused.code) == (Reason.SECOND_FACTOR_REQUIRED, Code.PERMISSION_DENIED)
    assert (await root.state()).is_required
    # The role is kept, and counts from the first token after the set-up on.
    me = await service.users.GetMe(user_service_pb2.GetMeRequest(), metadata=root.metadata)
    assert me.role == role_pb2.ROLE_ADMINISTRATOR

    await root.turn_on()
    await accounts.ResetSecondFactor(reset, metadata=root.metadata)

    assert (await service.login(guarded.email)).access_token
    assert (await refusal(guarded.state())).reason is Reason.TOKEN_EXPIRED


async def test_secret_lies_sealed_in_the_database(service: UserService, guarded: Person) -> None:
    connection = await asyncpg.connect(service.database.admin_url)
    rows = await connection.fetch("SELECT sealed_secret FROM users.second_factors")
    codes = await connection.fetch("SELECT code_hash FROM users.recovery_codes")
    await connection.close()

    assert rows
    assert not any(guarded.secret.encode() in row["sealed_secret"] for row in rows)
    assert not any(code.encode() in row["code_hash"] for row in codes for code in guarded.recovery_codes)
