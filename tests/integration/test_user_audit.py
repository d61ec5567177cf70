"""The audit log: what is done to an account is in it, for its owner and for administrators, and nothing else is."""

from collections.abc import AsyncIterator

import asyncpg
import pyotp
import pytest
from pingvas.common.v1 import role_pb2
from pingvas.user.v1 import account_admin_service_pb2 as admin_pb2
from pingvas.user.v1 import (
    api_key_service_pb2,
    audit_event_pb2,
    audit_service_pb2,
    auth_service_pb2,
    second_factor_service_pb2,
    user_directory_service_pb2,
    user_service_pb2,
)
from pingvas.user.v1.account_admin_service_pb2_grpc import AccountAdminServiceStub
from pingvas.user.v1.audit_service_pb2_grpc import AuditServiceStub

from svc_common.errors import Reason
from svc_user.domain.audit import AuditKind
from tests.factories.user_service import PASSWORD, UserService, bearer, refusal, running_user_service
from tests.harness_mail import MailServer, token_of
from tests.harness_postgres import DatabaseFactory

FIRST = "root@example.com"


@pytest.fixture(scope="module")
async def service(
    database_for: DatabaseFactory, mail_server: MailServer, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[UserService]:
    folder = tmp_path_factory.mktemp("keys")
    async with running_user_service(await database_for("user"), folder, smtp_url=mail_server.url) as service:
        request = user_directory_service_pb2.EnsureAdministratorRequest(email=FIRST, password=PASSWORD)
        async with service.directory("operator") as directory:
            await directory.EnsureAdministrator(request)
        yield service


@pytest.fixture
async def root(service: UserService) -> str:
    """An access token of the administrator."""
    return (await service.login(FIRST)).access_token


async def events_of(service: UserService, token: str, **fields: object) -> list[audit_event_pb2.AuditEvent]:
    request = audit_service_pb2.ListAuditEventsRequest(**fields)
    return list((await AuditServiceStub(service.public).ListAuditEvents(request, metadata=bearer(token))).events)


async def all_events(service: UserService, token: str, **fields: object) -> list[audit_event_pb2.AuditEvent]:
    request = audit_service_pb2.ListAllAuditEventsRequest(page_size=200, **fields)
    return list((await AuditServiceStub(service.public).ListAllAuditEvents(request, metadata=bearer(token))).events)


def kinds(events: list[audit_event_pb2.AuditEvent]) -> list[str]:
    """Returns what happened, the oldest first."""
    names = (audit_event_pb2.AuditEventKind.Name(event.kind) for event in reversed(events))
    return [name.removeprefix("AUDIT_EVENT_KIND_").lower() for name in names]


def test_every_kind_is_one_of_the_contract() -> None:
    names = audit_event_pb2.AuditEventKind.keys()
    contract = {name.removeprefix("AUDIT_EVENT_KIND_").lower() for name in names}
    assert {kind.value for kind in AuditKind} == contract - {"unspecified"}


async def test_owner_sees_what_was_done_and_by_whom(service: UserService, root: str, mail_server: MailServer) -> None:
    user = await service.register()
    link = token_of(await mail_server.mail(user.email))
    await service.auth.VerifyEmail(auth_service_pb2.VerifyEmailRequest(token=link))
    await refusal(service.login(user.email, "a wrong password"))
    pair = await service.login(user.email)
    token = pair.access_token
    request = api_key_service_pb2.CreateApiKeyRequest(name="build", scopes=[1])
    key = await service.api_keys.CreateApiKey(request, metadata=bearer(token))
    delete = api_key_service_pb2.DeleteApiKeyRequest(api_key_id=key.api_key_id)
    for _ in range(2):
        await service.api_keys.DeleteApiKey(delete, metadata=bearer(token))
    change = auth_service_pb2.ChangePasswordRequest(current_password=PASSWORD, new_password="another battery")
    await service.auth.ChangePassword(change, metadata=bearer(token))
    accounts = AccountAdminServiceStub(service.public)
    suspend = admin_pb2.SuspendAccountRequest(user_id=user.user_id, reason="sends spam")
    await accounts.SuspendAccount(suspend, metadata=bearer(root))
    reinstate = admin_pb2.ReinstateAccountRequest(user_id=user.user_id)
    await accounts.ReinstateAccount(reinstate, metadata=bearer(root))
    again = await service.login(user.email, "another battery")

    events = await events_of(service, again.access_token)

    assert kinds(events) == [
        "registered",
        "email_verified",
        "sign_in_failed",
        "signed_in",
        "api_key_created",
        "api_key_deleted",
        "password_changed",
        "account_suspended",
        "account_reinstated",
        "signed_in",
    ]
    by_kind = dict(zip(kinds(events), reversed(events), strict=True))
    root_id = (await service.users.GetMe(user_service_pb2.GetMeRequest(), metadata=bearer(root))).user_id
    assert by_kind["sign_in_failed"].actor == "anonymous"
    assert by_kind["password_changed"].actor == f"user:{user.user_id}"
    assert by_kind["account_suspended"].actor == f"user:{root_id}"
    assert by_kind["account_suspended"].after == {"reason": "sends spam"}
    assert by_kind["api_key_created"].after == {"api_key_id": key.api_key_id, "scopes": "read"}
    assert by_kind["signed_in"].after["way"] == "password"
    assert {event.network for event in events} == {"127.0.0.1"}
    assert {event.account_id for event in events} == {user.account_id}


async def test_event_is_there_only_if_what_it_tells_is(service: UserService, root: str) -> None:
    """A refused call leaves nothing: both are written in one transaction."""
    me = await service.users.GetMe(user_service_pb2.GetMeRequest(), metadata=bearer(root))
    before = kinds(await events_of(service, root))
    request = admin_pb2.SetAccountRoleRequest(user_id=me.user_id, role=role_pb2.ROLE_USER)

    refused = await refusal(AccountAdminServiceStub(service.public).SetAccountRole(request, metadata=bearer(root)))

    assert refused.reason is Reason.LAST_ADMINISTRATOR
    assert kinds(await events_of(service, root)) == before


async def test_role_change_tells_before_and_after(service: UserService, root: str) -> None:
    user = await service.register()
    request = admin_pb2.SetAccountRoleRequest(user_id=user.user_id, role=role_pb2.ROLE_SUPPORT)
    for _ in range(2):
        await AccountAdminServiceStub(service.public).SetAccountRole(request, metadata=bearer(root))

    (event,) = await all_events(
        service, root, account_id=user.account_id, kind=audit_event_pb2.AUDIT_EVENT_KIND_ROLE_CHANGED
    )
    assert (dict(event.before), dict(event.after)) == ({"role": "user"}, {"role": "support"})


async def test_reuse_of_a_refresh_token_is_in_the_log_and_told_by_mail(
    service: UserService, mail_server: MailServer
) -> None:
    user = await service.register()
    first = await service.login(user.email)
    second = await service.refresh(first.refresh_token)
    service.clock.advance(seconds=11)

    assert (await refusal(service.refresh(first.refresh_token))).reason is Reason.REFRESH_TOKEN_REUSED
    assert (await refusal(service.refresh(second.refresh_token))).reason is Reason.REFRESH_TOKEN_INVALID

    token = (await service.login(user.email)).access_token
    assert kinds(await events_of(service, token)) == ["registered", "signed_in", "refresh_token_reused", "signed_in"]
    assert (await mail_server.mail(user.email, 2))["Subject"]


async def test_ends_of_sessions_are_in_the_log(service: UserService) -> None:
    user = await service.register()
    first, second, third = [await service.login(user.email) for _ in range(3)]
    for _ in range(2):
        await service.logout(first.refresh_token)
    listed = await service.users.ListSessions(
        user_service_pb2.ListSessionsRequest(), metadata=bearer(third.access_token)
    )
    (other,) = [each.session_id for each in listed.sessions if not each.is_current]
    await service.users.RevokeSession(
        user_service_pb2.RevokeSessionRequest(session_id=other), metadata=bearer(third.access_token)
    )
    await service.users.RevokeSessions(
        user_service_pb2.RevokeSessionsRequest(keep_current=True), metadata=bearer(third.access_token)
    )

    assert second.access_token
    assert kinds(await events_of(service, third.access_token))[4:] == [
        "signed_out",
        "sessions_ended",
        "sessions_ended",
    ]


async def test_second_steps_and_their_failures_are_in_the_log(service: UserService) -> None:
    user = await service.register()
    token = (await service.login(user.email)).access_token
    begin = second_factor_service_pb2.BeginSecondFactorRequest()
    secret = (await service.second_factors.BeginSecondFactor(begin, metadata=bearer(token))).secret
    code = pyotp.TOTP(secret).at(service.clock())
    confirm = second_factor_service_pb2.ConfirmSecondFactorRequest(code=code)
    codes = (await service.second_factors.ConfirmSecondFactor(confirm, metadata=bearer(token))).codes
    challenge = (await service.login(user.email)).second_factor.challenge
    verify = auth_service_pb2.VerifySecondFactorRequest(challenge=challenge, code=code)
    await refusal(service.auth.VerifySecondFactor(verify))
    verify = auth_service_pb2.VerifySecondFactorRequest(challenge=challenge, code=codes[0])
    token = (await service.auth.VerifySecondFactor(verify)).access_token

    events = await events_of(service, token)

    assert kinds(events)[2:] == [
        "second_factor_enabled",
        "second_factor_failed",
        "recovery_code_used",
        "signed_in",
    ]
    text = str(events)
    assert not any(secret_part in text for secret_part in (secret, code, *codes, challenge))


async def test_log_ins_with_addresses_that_nobody_has_are_for_administrators(service: UserService, root: str) -> None:
    await refusal(service.login("nobody-at-all@example.com"))

    failed = audit_event_pb2.AUDIT_EVENT_KIND_SIGN_IN_FAILED
    newest = (await all_events(service, root, kind=failed))[0]

    assert newest.account_id == ""
    assert "nobody-at-all" not in str(newest)


async def test_others_see_neither_list(service: UserService, root: str) -> None:
    owner, stranger = await service.session(), await service.session()

    theirs = await events_of(service, stranger.access_token)

    assert len({event.account_id for event in theirs}) == 1
    refused = await refusal(all_events(service, owner.access_token))
    assert refused.reason is Reason.ROLE_MISSING


async def test_pages_follow_one_another(service: UserService) -> None:
    user = await service.register()
    for _ in range(4):
        token = (await service.login(user.email)).access_token
    stub = AuditServiceStub(service.public)
    seen, page_token = [], ""
    while True:
        request = audit_service_pb2.ListAuditEventsRequest(page_size=2, page_token=page_token)
        page = await stub.ListAuditEvents(request, metadata=bearer(token))
        seen += [event.event_id for event in page.events]
        page_token = page.next_page_token
        if not page_token:
            break

    assert len(seen) == 5
    assert seen == sorted(seen, reverse=True)


async def test_log_holds_no_address_and_no_secret(service: UserService) -> None:
    user = await service.register(email="canary@example.com", password="canary of the mine")
    pair = await service.login(user.email, "canary of the mine")
    connection = await asyncpg.connect(service.database.admin_url)
    rows = await connection.fetch("SELECT audit_events::text AS line FROM users.audit_events")
    await connection.close()

    text = "\n".join(row["line"] for row in rows)
    assert not any(secret in text for secret in ("canary", pair.refresh_token, pair.access_token))
