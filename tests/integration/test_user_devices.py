"""The sessions that people see and end: which there are, from where they are used, and that ended ones are over."""

from collections.abc import AsyncIterator

import grpc.aio
import pytest
from pingvas.user.v1 import auth_service_pb2, session_pb2, user_service_pb2
from pingvas.user.v1.auth_service_pb2_grpc import AuthServiceStub

from svc_common.clock import new_id
from svc_common.errors import Code, Reason
from tests.factories.user_service import PASSWORD, UserService, bearer, refusal, running_user_service
from tests.harness_mail import MailServer
from tests.harness_postgres import DatabaseFactory


@pytest.fixture(scope="module")
async def service(
    database_for: DatabaseFactory, mail_server: MailServer, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[UserService]:
    folder = tmp_path_factory.mktemp("keys")
    async with running_user_service(await database_for("user"), folder, smtp_url=mail_server.url) as running:
        yield running


async def listed(
    service: UserService, pair: auth_service_pb2.TokenPair, **fields: object
) -> user_service_pb2.ListSessionsResponse:
    request = user_service_pb2.ListSessionsRequest(**fields)
    return await service.users.ListSessions(request, metadata=bearer(pair.access_token))


async def sessions(service: UserService, pair: auth_service_pb2.TokenPair) -> list[session_pb2.Session]:
    return list((await listed(service, pair)).sessions)


async def revoke(service: UserService, pair: auth_service_pb2.TokenPair, session_id: str) -> None:
    request = user_service_pb2.RevokeSessionRequest(session_id=session_id)
    await service.users.RevokeSession(request, metadata=bearer(pair.access_token))


async def revoke_all(service: UserService, pair: auth_service_pb2.TokenPair, *, keep_current: bool) -> int:
    request = user_service_pb2.RevokeSessionsRequest(keep_current=keep_current)
    return (await service.users.RevokeSessions(request, metadata=bearer(pair.access_token))).revoked_count


async def is_over(service: UserService, pair: auth_service_pb2.TokenPair) -> bool:
    try:
        await service.refresh(pair.refresh_token)
    except grpc.aio.AioRpcError as error:
        return error.code() is grpc.StatusCode.UNAUTHENTICATED
    return False


async def test_session_tells_device_network_and_times(service: UserService) -> None:
    user = await service.register()
    request = auth_service_pb2.LoginRequest(email=user.email, password=PASSWORD)
    browser = "Mozilla/5.0 (Windows NT 10.0) Gecko/20100101 Firefox/145.0"
    pair = await service.auth.Login(request, metadata=(("x-forwarded-user-agent", browser),))
    began = service.clock()
    service.clock.advance(minutes=9)

    pair = await service.refresh(pair.refresh_token)
    (session,) = await sessions(service, pair)

    zone = began.tzinfo
    # The client that refreshed last is the one that is shown.
    assert (session.device, session.network, session.is_current) == ("gRPC program", "127.0.0.1", True)
    assert session.create_time.ToDatetime(zone) == began
    assert session.last_seen_time.ToDatetime(zone) == service.clock()
    assert session.expire_time.ToDatetime(zone) > service.clock()


async def test_session_of_a_browser_is_named_after_it(service: UserService) -> None:
    user = await service.register()
    request = auth_service_pb2.LoginRequest(email=user.email, password=PASSWORD)
    browser = "Mozilla/5.0 (Windows NT 10.0) Gecko/20100101 Firefox/145.0"

    pair = await service.auth.Login(request, metadata=(("x-forwarded-user-agent", browser),))

    assert [session.device for session in await sessions(service, pair)] == ["Firefox on Windows"]


async def test_program_names_itself(service: UserService) -> None:
    user = await service.register()
    options = [("grpc.primary_user_agent", "pingvas (Linux)")]
    async with grpc.aio.insecure_channel(service.public_address, options=options) as channel:
        request = auth_service_pb2.LoginRequest(email=user.email, password=PASSWORD)
        pair = await AuthServiceStub(channel).Login(request)

    assert [session.device for session in await sessions(service, pair)] == ["pingvas on Linux"]


async def test_list_shows_own_live_sessions_newest_first_in_pages(service: UserService) -> None:
    user = await service.register()
    await service.session()
    pairs = [await service.login(user.email) for _ in range(5)]
    await service.logout(pairs[1].refresh_token)

    first = await listed(service, pairs[4], page_size=3)
    second = await listed(service, pairs[4], page_size=3, page_token=first.next_page_token)

    times = [session.session_id for session in (*first.sessions, *second.sessions)]
    assert (len(first.sessions), len(second.sessions), second.next_page_token) == (3, 1, "")
    assert times == sorted(times, reverse=True)
    assert [session.is_current for session in first.sessions] == [True, False, False]


async def test_list_refuses_page_token_of_somebody_else(service: UserService) -> None:
    user = await service.register()
    pairs = [await service.login(user.email) for _ in range(2)]
    token = (await listed(service, pairs[0], page_size=1)).next_page_token
    stranger = await service.session()

    assert (await refusal(listed(service, stranger, page_token=token))).reason is Reason.PAGE_TOKEN_INVALID


async def test_revoked_session_is_over_and_others_go_on(service: UserService) -> None:
    user = await service.register()
    mine, lost = await service.login(user.email), await service.login(user.email)
    lost_id = next(session.session_id for session in await sessions(service, mine) if not session.is_current)

    await revoke(service, mine, lost_id)
    await revoke(service, mine, lost_id)

    assert [session.is_current for session in await sessions(service, mine)] == [True]
    assert (await is_over(service, lost), await is_over(service, mine)) == (True, False)


async def test_session_of_somebody_else_is_not_found(service: UserService) -> None:
    victim, thief = await service.session(), await service.session()
    (session,) = await sessions(service, victim)

    errors = [await refusal(revoke(service, thief, each)) for each in (session.session_id, str(new_id()))]

    assert [(error.reason, error.code) for error in errors] == [(Reason.SESSION_NOT_FOUND, Code.NOT_FOUND)] * 2
    assert not await is_over(service, victim)


@pytest.mark.parametrize("keep_current", [True, False])
async def test_all_sessions_end_at_once(service: UserService, *, keep_current: bool) -> None:
    user = await service.register()
    mine, *others = [await service.login(user.email) for _ in range(4)]
    stranger = await service.session()

    count = await revoke_all(service, mine, keep_current=keep_current)

    assert count == (3 if keep_current else 4)
    assert [await is_over(service, pair) for pair in others] == [True] * 3
    assert await is_over(service, mine) is not keep_current
    assert not await is_over(service, stranger)


async def test_owner_is_told_by_mail_when_a_used_token_comes_back(
    service: UserService, mail_server: MailServer
) -> None:
    user = await service.register()
    pair = await service.login(user.email)
    await service.refresh(pair.refresh_token)
    service.clock.advance(seconds=11)

    assert (await refusal(service.refresh(pair.refresh_token))).reason is Reason.REFRESH_TOKEN_REUSED
    assert (await refusal(service.refresh(pair.refresh_token))).reason is Reason.REFRESH_TOKEN_INVALID

    assert (await mail_server.mail(user.email, 2))["Subject"] == "One of your sessions was ended"
    await service.login(user.email)
    assert len(mail_server.to(user.email)) == 2
