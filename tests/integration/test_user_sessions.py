"""Logins, refresh token families and their end, through the real listener, with a clock that is set by hand."""

import asyncio
import time
from collections.abc import AsyncIterator

import asyncpg
import grpc
import pytest
from pingvas.user.v1 import auth_service_pb2

from svc_common.db import Database
from svc_common.errors import Code, Reason
from svc_common.key_sets import KeySet
from svc_common.tokens import AccessTokens
from svc_user import tasks
from tests.factories.user_service import UserService, refusal, running_user_service
from tests.harness_postgres import DatabaseFactory


@pytest.fixture(scope="module")
async def service(
    database_for: DatabaseFactory, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[UserService]:
    folder = tmp_path_factory.mktemp("keys")
    async with running_user_service(await database_for("user"), folder) as running:
        yield running


async def test_login_begins_a_new_session_each_time(service: UserService) -> None:
    user = await service.register()

    pairs = [await service.login(user.email), await service.login(user.email.upper())]

    assert {(pair.token_type, pair.expires_in) for pair in pairs} == {("bearer", 600)}
    assert pairs[0].refresh_token != pairs[1].refresh_token
    assert _session_id(service, pairs[0]) != _session_id(service, pairs[1])


async def test_login_gives_same_refusal_for_wrong_password_and_unknown_address(service: UserService) -> None:
    user = await service.register()
    attempts = [(user.email, "wrong password"), ("nobody@example.com", "wrong password"), ("%", "p")]

    refusals = [await refusal(service.login(*attempt)) for attempt in attempts]

    assert {error.code for error in refusals} == {Code.UNAUTHENTICATED}
    assert {(error.reason, error.message, str(error.metadata)) for error in refusals} == {
        (Reason.LOGIN_FAILED, refusals[0].message, "{}")
    }


async def test_login_takes_as_long_for_unknown_address_as_for_wrong_password(
    service: UserService, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("slow-hash-keys")
    # More than the guesses that are free, or the last ones would be refused without a hash.
    costs = {"argon2_memory_kib": 32 * 1024, "argon2_time_cost": 3, "login_failures_strange": 10}
    async with running_user_service(service.database, folder, **costs) as slow:
        known = (await slow.register()).email
        pairs = [
            (await _login_seconds(slow, known), await _login_seconds(slow, "nobody@example.com")) for _ in range(7)
        ]

    # Without the dummy hash the unknown address is answered ten times as fast. The fastest of seven is free of noise.
    of_known, of_unknown = (min(seconds) for seconds in zip(*pairs, strict=True))
    assert 0.5 < of_unknown / of_known < 2


async def test_login_accepts_password_typed_in_another_unicode_form(service: UserService) -> None:
    user = await service.register(password="cafe\u0301 cafe\u0301")

    assert (await service.login(user.email, "caf\u00e9 caf\u00e9")).access_token


async def test_login_renews_hash_when_cost_was_raised(
    service: UserService, tmp_path_factory: pytest.TempPathFactory
) -> None:
    user = await service.register()
    cheap = await _password_hash(service, user.email)
    folder = tmp_path_factory.mktemp("raised-cost-keys")
    async with running_user_service(service.database, folder, argon2_time_cost=2) as raised:
        await refusal(raised.login(user.email, "wrong password"))
        after_failure = await _password_hash(service, user.email)
        await raised.login(user.email)
        renewed = await _password_hash(service, user.email)
        await raised.login(user.email)
        unchanged = await _password_hash(service, user.email)

    assert "t=1" in cheap
    assert after_failure == cheap
    assert "t=2" in renewed
    assert unchanged == renewed


async def test_refresh_rotates_within_the_same_session(service: UserService) -> None:
    pair = await service.session()

    rotated = await service.refresh(pair.refresh_token)

    assert rotated.refresh_token != pair.refresh_token
    assert _session_id(service, rotated) == _session_id(service, pair)
    assert (await service.refresh(rotated.refresh_token)).access_token


async def test_refresh_refuses_unknown_token(service: UserService) -> None:
    error = await refusal(service.refresh("pvrt_unknown"))

    assert (error.reason, error.code) == (Reason.REFRESH_TOKEN_INVALID, Code.UNAUTHENTICATED)


@pytest.mark.parametrize("token", ["", "x" * 257])
async def test_refresh_refuses_token_of_impossible_length(service: UserService, token: str) -> None:
    error = await refusal(service.refresh(token))

    assert (error.reason, [violation.field for violation in error.violations]) == (
        Reason.INVALID_FIELD,
        ["refresh_token"],
    )


async def test_refresh_answers_again_when_reply_was_lost(service: UserService) -> None:
    pair = await service.session()
    lost = await service.refresh(pair.refresh_token)
    service.clock.advance(seconds=9)

    repeated = await service.refresh(pair.refresh_token)

    assert repeated.refresh_token != lost.refresh_token
    assert (await service.refresh(repeated.refresh_token)).access_token


async def test_refresh_revokes_family_when_token_returns_after_grace(service: UserService) -> None:
    pair = await service.session()
    newest = await service.refresh(pair.refresh_token)
    service.clock.advance(seconds=11)

    replay = await refusal(service.refresh(pair.refresh_token))
    of_newest = await refusal(service.refresh(newest.refresh_token))
    again = await refusal(service.refresh(pair.refresh_token))

    assert (replay.reason, replay.code) == (Reason.REFRESH_TOKEN_REUSED, Code.UNAUTHENTICATED)
    assert of_newest.reason is again.reason is Reason.REFRESH_TOKEN_INVALID


async def test_refresh_revokes_family_when_successor_was_used_already(service: UserService) -> None:
    first = await service.session()
    second = await service.refresh(first.refresh_token)
    third = await service.refresh(second.refresh_token)

    replay = await refusal(service.refresh(first.refresh_token))

    assert replay.reason is Reason.REFRESH_TOKEN_REUSED
    assert (await refusal(service.refresh(third.refresh_token))).reason is Reason.REFRESH_TOKEN_INVALID


async def test_refresh_notices_thief_who_replayed_within_grace(service: UserService) -> None:
    stolen = (await service.session()).refresh_token
    of_owner = await service.refresh(stolen)
    of_thief = await service.refresh(stolen)

    of_thief = await service.refresh(of_thief.refresh_token)
    service.clock.advance(minutes=9)
    noticed = await refusal(service.refresh(of_owner.refresh_token))

    assert noticed.reason is Reason.REFRESH_TOKEN_REUSED
    assert (await refusal(service.refresh(of_thief.refresh_token))).reason is Reason.REFRESH_TOKEN_INVALID


async def test_refresh_leaves_other_sessions_alone_when_it_revokes_one(service: UserService) -> None:
    user = await service.register()
    attacked, untouched = await service.login(user.email), await service.login(user.email)
    stranger = await service.session()
    await service.refresh(attacked.refresh_token)
    service.clock.advance(seconds=11)

    await refusal(service.refresh(attacked.refresh_token))

    assert (await service.refresh(untouched.refresh_token)).access_token
    assert (await service.refresh(stranger.refresh_token)).access_token


async def test_refresh_logs_nobody_out_when_twenty_tabs_refresh_at_once(service: UserService) -> None:
    for _ in range(5):
        pair = await service.session()
        answers = await asyncio.gather(*(service.refresh(pair.refresh_token) for _ in range(20)))
        tokens = [answer.refresh_token for answer in answers]
        survivor = await service.refresh(tokens[7])

        assert len(set(tokens)) == 20
        assert await _generation(service, survivor) == 3
        service.clock.advance(seconds=11)
        assert (await service.refresh(survivor.refresh_token)).access_token
        assert (await refusal(service.refresh(tokens[8]))).reason is Reason.REFRESH_TOKEN_REUSED


async def test_refresh_refuses_token_that_was_idle_for_fourteen_days(service: UserService) -> None:
    pair = await service.session()
    service.clock.advance(days=13, hours=23)
    pair = await service.refresh(pair.refresh_token)
    service.clock.advance(days=14)

    assert (await refusal(service.refresh(pair.refresh_token))).reason is Reason.REFRESH_TOKEN_INVALID


async def test_refresh_refuses_busy_session_after_thirty_days(service: UserService) -> None:
    pair = await service.session()
    for _ in range(3):
        service.clock.advance(days=9, hours=23)
        pair = await service.refresh(pair.refresh_token)
    service.clock.advance(hours=3)

    assert (await refusal(service.refresh(pair.refresh_token))).reason is Reason.REFRESH_TOKEN_INVALID


async def test_logout_ends_the_session_for_all_its_tokens(service: UserService) -> None:
    user = await service.register()
    ended, untouched = await service.login(user.email), await service.login(user.email)
    newest = await service.refresh(ended.refresh_token)

    await service.logout(newest.refresh_token)
    await service.logout(newest.refresh_token)

    for pair in (ended, newest):
        assert (await refusal(service.refresh(pair.refresh_token))).reason is Reason.REFRESH_TOKEN_INVALID
    assert (await service.refresh(untouched.refresh_token)).access_token


async def test_logout_accepts_unknown_token(service: UserService) -> None:
    await service.logout("pvrt_unknown")


async def test_logout_beats_or_follows_racing_refresh_but_always_ends_the_session(service: UserService) -> None:
    for _ in range(10):
        pair = await service.session()
        refreshed, _ = await asyncio.gather(
            service.refresh(pair.refresh_token), service.logout(pair.refresh_token), return_exceptions=True
        )
        tokens = [pair.refresh_token]
        if isinstance(refreshed, auth_service_pb2.TokenPair):
            tokens.append(refreshed.refresh_token)
        for token in tokens:
            assert (await refusal(service.refresh(token))).reason is Reason.REFRESH_TOKEN_INVALID


async def test_sweep_deletes_expired_sessions_with_their_tokens_and_no_others(service: UserService) -> None:
    old = [await service.session() for _ in range(5)]
    await service.refresh(old[0].refresh_token)
    service.clock.advance(days=14)
    live = await service.session()
    live = await service.refresh(live.refresh_token)

    database = Database(service.database.tasks_url)
    try:
        await tasks.delete_expired_sessions(database, service.clock(), sessions_a_batch=2)
        repeated = await tasks.delete_expired_sessions(database, service.clock())
    finally:
        await database.close()

    assert repeated == 0
    assert [await _session_count(service, pair) for pair in (*old, live)] == [0, 0, 0, 0, 0, 1]
    assert await _orphan_token_count(service) == 0
    assert (await service.refresh(live.refresh_token)).access_token


async def _login_seconds(service: UserService, email: str) -> float:
    started = time.perf_counter()
    with pytest.raises(grpc.aio.AioRpcError):
        await service.login(email, "wrong password")
    return time.perf_counter() - started


def _session_id(service: UserService, pair: auth_service_pb2.TokenPair) -> str:
    keys = KeySet.from_file(service.keys.folder / "users.jwks")
    claims = AccessTokens(keys, "https://pingvas.studio", "pingvas-api").verify(pair.access_token)
    return str(claims.session_id)


async def _password_hash(service: UserService, email: str) -> str:
    return str(await _fetch_value(service, "SELECT password_hash FROM users.users WHERE email = $1", email))


async def _generation(service: UserService, pair: auth_service_pb2.TokenPair) -> object:
    statement = "SELECT generation FROM users.sessions WHERE session_id = $1"
    return await _fetch_value(service, statement, _session_id(service, pair))


async def _session_count(service: UserService, pair: auth_service_pb2.TokenPair) -> object:
    statement = "SELECT count(*) FROM users.sessions WHERE session_id = $1"
    return await _fetch_value(service, statement, _session_id(service, pair))


async def _orphan_token_count(service: UserService) -> object:
    return await _fetch_value(
        service,
        "SELECT count(*) FROM users.refresh_tokens t WHERE NOT EXISTS "
        "(SELECT FROM users.sessions s WHERE s.session_id = t.session_id)",
    )


async def _fetch_value(service: UserService, statement: str, *arguments: object) -> object:
    connection = await asyncpg.connect(service.database.admin_url)
    try:
        return await connection.fetchval(statement, *arguments)
    finally:
        await connection.close()
