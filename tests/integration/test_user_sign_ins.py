"""Signing in at Google and Discord through the bridge: stand-ins that ask for consent, real redirects, and all their faults."""

import asyncio
import hashlib
from base64 import urlsafe_b64encode
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import asyncpg
import pytest
import redis as redis_sync
from pingvas.user.v1 import auth_service_pb2, identity_pb2, identity_service_pb2

from svc_common.errors import Reason
from tests.factories.sign_ins import STUDIO, StandIns, Studio, failure_of, running_studio, serving_stand_ins
from tests.factories.user_service import bearer, refusal
from tests.fakes.providers import Account, Fault
from tests.harness_postgres import DatabaseFactory
from tests.harness_redis import RedisServer

PROVIDERS = ("google", "discord")
VERIFIER = "v" * 43
LOOPBACK = {
    "port": "49152",
    "state": "s" * 32,
    "code_challenge": urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).rstrip(b"=").decode(),
}
# What is wrong with an id_token, as the refusal says it.
STATEMENT_FAULTS = {
    Fault.NONCE: "the claim nonce is wrong",
    Fault.NO_NONCE: "the claim nonce is wrong",
    Fault.AUDIENCE: "the claim aud is wrong",
    Fault.SECOND_AUDIENCE: "the claim azp is wrong",
    Fault.ISSUER: "the claim iss is wrong",
    Fault.EXPIRED: "its statement has expired",
    Fault.FROM_THE_FUTURE: "the claim iat is wrong",
    Fault.NO_SUBJECT: "the claim sub is wrong",
    Fault.ALG_NONE: "its signature is wrong",
    Fault.HS256: "its signature is wrong",
    Fault.UNKNOWN_KEY: "its signature is wrong",
    Fault.NO_ID_TOKEN: "it sent no id_token",
}


@pytest.fixture(scope="module")
def shared_stand_ins() -> Iterator[StandIns]:
    with serving_stand_ins() as running:
        yield running


@pytest.fixture
def stand_ins(shared_stand_ins: StandIns) -> StandIns:
    """The providers, without a fault and without accounts."""
    for stand_in in (shared_stand_ins.google, shared_stand_ins.discord):
        stand_in.reset()
    return shared_stand_ins


@pytest.fixture(scope="module")
async def shared_studio(
    database_for: DatabaseFactory,
    tmp_path_factory: pytest.TempPathFactory,
    own_redis: RedisServer,
    shared_stand_ins: StandIns,
) -> AsyncIterator[Studio]:
    folder = tmp_path_factory.mktemp("keys")
    own_redis.start()
    try:
        async with running_studio(await database_for("user"), folder, own_redis.url, shared_stand_ins) as running:
            yield running
    finally:
        own_redis.stop()


@pytest.fixture
def studio(shared_studio: Studio, stand_ins: StandIns) -> Studio:
    return shared_studio


_subjects = iter(range(10**17, 10**18))


def account_at(studio: Studio, provider: str, **fields: Any) -> Account:
    """Makes an account at a provider, with an address of its own unless `fields` say otherwise."""
    subject = str(next(_subjects))
    account = Account(**({"subject": subject, "email": f"P{subject}@example.com", "name": "Ada Lovelace"} | fields))
    studio.stand_ins.named(provider).accounts.append(account)
    return account


async def rows(studio: Studio, statement: str, *values: object) -> list[tuple[Any, ...]]:
    """Returns what a query finds, for the administrator of the database."""
    connection = await asyncpg.connect(studio.service.database.admin_url)
    try:
        return [tuple(row) for row in await connection.fetch(statement, *values)]
    finally:
        await connection.close()


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_first_sign_in_makes_an_account_and_the_next_one_finds_it(studio: Studio, provider: str) -> None:
    account = account_at(studio, provider)
    async with studio.browser() as browser:
        first = await studio.me(await browser.sign_in(provider, account))
        await browser.http.delete("/session")
    async with studio.browser() as browser:
        second = await studio.me(await browser.sign_in(provider, account))

    assert first == second
    assert (first.email, first.email_verified, first.display_name) == (account.email.lower(), True, "Ada Lovelace")


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_no_token_is_in_an_address_and_cookies_are_kept_from_scripts(studio: Studio, provider: str) -> None:
    account = account_at(studio, provider)
    async with studio.browser() as browser:
        address = await browser.leave(provider)
        query = parse_qs(urlsplit(address).query)
        attempt_cookie = dict(browser.http.cookies)["pingvas-sign-in"]
        answer = await browser.come_back(await browser.consent(address, account))

    assert query["code_challenge_method"] == ["S256"]
    assert not {"code_verifier", "client_secret"} & set(query)
    assert attempt_cookie.partition(".")[2] not in address
    refresh_cookie = next(value for value in answer.headers.get_list("set-cookie") if "refresh" in value)
    assert "; path=/session; samesite=strict" in refresh_cookie.lower()
    assert "httponly" in refresh_cookie.lower()
    assert answer.headers["location"] == "/"
    assert (answer.headers["cache-control"], answer.headers["referrer-policy"]) == ("no-store", "no-referrer")


async def test_address_that_changed_at_the_provider_leads_to_the_same_account(studio: Studio) -> None:
    before = account_at(studio, "google")
    async with studio.browser() as browser:
        first = await studio.me(await browser.sign_in("google", before))
        studio.stand_ins.google.accounts.remove(before)
        after = account_at(studio, "google", subject=before.subject, email="new@example.com", email_verified=False)
        second = await studio.me(await browser.sign_in("google", after))

    assert first == second


@pytest.mark.parametrize(("fault", "detail"), STATEMENT_FAULTS.items())
async def test_statement_that_cannot_be_trusted_signs_nobody_in(studio: Studio, fault: Fault, detail: str) -> None:
    account = account_at(studio, "google")
    studio.stand_ins.google.fault = fault
    async with studio.browser() as browser:
        callback = await browser.consent(await browser.leave("google"), account)
        browser.http.headers["accept"] = "application/json"
        answer = await browser.come_back(callback)

    info = answer.json()["details"][0]
    assert answer.status_code == 401
    assert info["reason"] == "PROVIDER_SIGN_IN_FAILED"
    assert info["metadata"] == {"provider": "google", "cause": "identity"}
    assert detail in answer.json()["message"]
    assert "pingvas-refresh" not in dict(browser.http.cookies)
    assert await rows(studio, "SELECT 1 FROM users.identities WHERE subject = $1", account.subject) == []


async def test_configuration_of_another_issuer_is_refused(
    studio: Studio, database_for: DatabaseFactory, tmp_path: Path, own_redis: RedisServer
) -> None:
    studio.stand_ins.google.fault = Fault.DISCOVERY
    async with (
        running_studio(await database_for("user"), tmp_path, own_redis.url, studio.stand_ins) as fresh,
        fresh.browser() as browser,
    ):
        answer = await browser.http.get("/api/v1/auth/google")
    assert failure_of(answer)[1]["cause"] == "identity"


@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize(
    ("fault", "reason", "cause"),
    [
        (Fault.CODE, "PROVIDER_SIGN_IN_FAILED", "code"),
        (Fault.CLIENT, "PROVIDER_SIGN_IN_FAILED", "client"),
        (Fault.NO_SUBJECT, "PROVIDER_SIGN_IN_FAILED", "identity"),
        (Fault.GIBBERISH, "PROVIDER_SIGN_IN_FAILED", "identity"),
        (Fault.STATE, "PROVIDER_SIGN_IN_FAILED", "state"),
        (Fault.BROKEN, "DEPENDENCY_UNAVAILABLE", None),
    ],
)
async def test_fault_of_a_provider_is_told_by_its_reason(
    studio: Studio, provider: str, fault: Fault, reason: str, cause: str | None
) -> None:
    account = account_at(studio, provider)
    async with studio.browser() as browser:
        address = await browser.leave(provider)
        studio.stand_ins.named(provider).fault = fault
        answer = await browser.come_back(await browser.consent(address, account))

    expected = {"failure": reason, "provider": provider} | ({"cause": cause} if cause else {})
    assert failure_of(answer) == ("/sign-in", expected)


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_redirect_in_place_of_tokens_is_not_followed(studio: Studio, provider: str) -> None:
    account = account_at(studio, provider)
    async with studio.browser() as browser:
        address = await browser.leave(provider)
        studio.stand_ins.named(provider).fault = Fault.REDIRECT
        _, failure = failure_of(await browser.come_back(await browser.consent(address, account)))
    assert failure["failure"] in {"PROVIDER_SIGN_IN_FAILED", "DEPENDENCY_UNAVAILABLE"}


async def test_provider_that_does_not_answer_in_time_is_unavailable(
    studio: Studio, database_for: DatabaseFactory, tmp_path: Path, own_redis: RedisServer
) -> None:
    account = account_at(studio, "discord")
    patience = {"provider_timeout_seconds": 0.3}
    async with (
        running_studio(await database_for("user"), tmp_path, own_redis.url, studio.stand_ins, **patience) as hasty,
        hasty.browser() as browser,
    ):
        address = await browser.leave("discord")
        studio.stand_ins.discord.fault = studio.stand_ins.google.fault = Fault.SLOW
        late = await browser.come_back(await browser.consent(address, account))
        # Google's pages are found by asking it.
        never = await browser.http.get("/api/v1/auth/google")

    assert failure_of(late)[1] == {"failure": "DEPENDENCY_UNAVAILABLE", "provider": "discord"}
    assert failure_of(never)[1] == {"failure": "DEPENDENCY_UNAVAILABLE", "provider": "google"}


async def test_outage_of_our_own_is_not_put_down_to_the_provider(
    stand_ins: StandIns, database_for: DatabaseFactory, tmp_path: Path
) -> None:
    nowhere = "redis://127.0.0.1:1"
    async with (
        running_studio(await database_for("user"), tmp_path, nowhere, stand_ins) as away,
        away.browser() as browser,
    ):
        answer = await browser.http.get("/api/v1/auth/discord")
    assert failure_of(answer)[1] == {"failure": "DEPENDENCY_UNAVAILABLE", "provider": "discord", "cause": "studio"}


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_cancelled_consent_is_told_as_such(studio: Studio, provider: str) -> None:
    async with studio.browser() as browser:
        answer = await browser.try_to_sign_in(provider, None)
    assert failure_of(answer)[1]["cause"] == "cancelled"


@pytest.mark.parametrize(
    ("query", "reason", "cause"),
    [
        ("error=server_error", "DEPENDENCY_UNAVAILABLE", None),
        ("error=invalid_scope&error_description=x", "PROVIDER_SIGN_IN_FAILED", "client"),
        ("", "PROVIDER_SIGN_IN_FAILED", "code"),
        ("code=unknown", "PROVIDER_SIGN_IN_FAILED", "code"),
    ],
)
async def test_answer_without_a_good_code_is_told_by_its_cause(
    studio: Studio, query: str, reason: str, cause: str | None
) -> None:
    async with studio.browser() as browser:
        (state,) = parse_qs(urlsplit(await browser.leave("discord")).query)["state"]
        answer = await browser.come_back(f"/api/v1/auth/discord/callback?state={state}&{query}")
    expected = {"failure": reason, "provider": "discord"} | ({"cause": cause} if cause else {})
    assert failure_of(answer)[1] == expected


async def test_answer_of_a_provider_works_once(studio: Studio) -> None:
    account = account_at(studio, "google")
    async with studio.browser() as browser:
        callback = await browser.consent(await browser.leave("google"), account)
        cookie = dict(browser.http.cookies)["pingvas-sign-in"]
        assert (await browser.come_back(callback)).headers["location"] == "/"
        browser.http.cookies.set("pingvas-sign-in", cookie)
        replay = await browser.come_back(callback)
    assert failure_of(replay)[1]["cause"] == "state"


async def test_answer_in_another_browser_is_refused_and_used_up(studio: Studio) -> None:
    account = account_at(studio, "google")
    async with studio.browser() as mine, studio.browser() as other:
        callback = await mine.consent(await mine.leave("google"), account)
        await other.leave("google")
        stolen = await other.come_back(callback)
        late = await mine.come_back(callback)
    assert [failure_of(answer)[1]["cause"] for answer in (stolen, late)] == ["state", "state"]


async def test_answer_at_the_callback_of_another_provider_is_refused(studio: Studio) -> None:
    account = account_at(studio, "google")
    async with studio.browser() as browser:
        callback = await browser.consent(await browser.leave("google"), account)
        answer = await browser.come_back(callback.replace("/google/", "/discord/"))
    assert failure_of(answer)[1] == {"failure": "PROVIDER_SIGN_IN_FAILED", "provider": "discord", "cause": "state"}


async def test_attempt_ends_after_ten_minutes(studio: Studio, own_redis: RedisServer) -> None:
    account = account_at(studio, "google")
    client = redis_sync.Redis.from_url(own_redis.url)
    async with studio.browser() as browser:
        callback = await browser.consent(await browser.leave("google"), account)
        (state,) = parse_qs(urlsplit(callback).query)["state"]
        key = f"ticket:sign-in:{hashlib.sha256(state.encode()).hexdigest()}"
        assert 0 < client.pttl(key) <= 10 * 60 * 1000
        client.pexpire(key, 0)
        answer = await browser.come_back(callback)
    assert failure_of(answer)[1]["cause"] == "state"


async def test_keys_that_the_provider_rotated_are_fetched_again(studio: Studio) -> None:
    account = account_at(studio, "google")
    async with studio.browser() as browser:
        await browser.sign_in("google", account)
        studio.stand_ins.google.rotate_key()
        assert await browser.sign_in("google", account)


@pytest.mark.parametrize(
    ("provider", "fields"),
    [
        ("google", {"email_verified": False}),
        ("google", {"email_verified": "true"}),
        ("google", {"email": None}),
        ("discord", {"email_verified": False}),
        ("discord", {"email_verified": None}),
        ("discord", {"email": None}),
        ("discord", {"email": "no address"}),
    ],
)
async def test_account_is_made_of_a_verified_address_only(
    studio: Studio, provider: str, fields: dict[str, Any]
) -> None:
    account = account_at(studio, provider, **fields)
    async with studio.browser() as browser:
        answer = await browser.try_to_sign_in(provider, account)
    assert failure_of(answer) == ("/sign-in", {"failure": "IDENTITY_EMAIL_UNVERIFIED", "provider": provider})


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_local_account_with_the_same_address_is_neither_entered_nor_handed_over(
    studio: Studio, provider: str
) -> None:
    local = await studio.service.register()
    account = account_at(studio, provider, email=local.email.upper())
    async with studio.browser() as browser:
        answer = await browser.try_to_sign_in(provider, account)

    assert failure_of(answer) == ("/sign-in", {"failure": "EMAIL_TAKEN", "provider": provider})
    assert await rows(studio, "SELECT 1 FROM users.identities WHERE subject = $1", account.subject) == []
    kept = await studio.me((await studio.service.login(local.email)).access_token)
    assert (kept.user_id, kept.email_verified) == (local.user_id, False)


async def test_same_address_at_two_providers_makes_one_account_only(studio: Studio) -> None:
    at_google = account_at(studio, "google")
    at_discord = account_at(studio, "discord", email=at_google.email)
    async with studio.browser() as browser:
        await browser.sign_in("google", at_google)
        answer = await browser.try_to_sign_in("discord", at_discord)
    assert failure_of(answer)[1] == {"failure": "EMAIL_TAKEN", "provider": "discord"}


async def test_two_first_sign_ins_at_once_make_one_account(studio: Studio) -> None:
    account = account_at(studio, "google")
    async with studio.browser() as one, studio.browser() as other:
        tokens = await asyncio.gather(one.sign_in("google", account), other.sign_in("google", account))
    users = [await studio.me(token) for token in tokens]
    assert users[0] == users[1]


async def test_name_that_may_not_be_shown_is_replaced(studio: Studio) -> None:
    account = account_at(studio, "discord", name="admin\u202e")
    async with studio.browser() as browser:
        user = await studio.me(await browser.sign_in("discord", account))
    assert user.display_name == user.email.partition("@")[0]


async def test_account_without_a_password_has_none_that_fits(studio: Studio) -> None:
    account = account_at(studio, "google")
    async with studio.browser() as browser:
        await browser.sign_in("google", account)
    error = await refusal(studio.service.login(account.email.lower()))
    assert error.reason is Reason.LOGIN_FAILED


async def test_linked_identity_signs_in_to_the_account(studio: Studio) -> None:
    local = await studio.service.register()
    token = (await studio.service.login(local.email)).access_token
    account = account_at(studio, "google", email=local.email)
    async with studio.browser() as browser:
        answer = await browser.link("google", account, token)
        assert answer.headers["location"] == "/account/identities"
        again = await browser.link("google", account, token)
        assert again.headers["location"] == "/account/identities"
        signed_in = await studio.me(await browser.sign_in("google", account))

    linked = await studio.linked(token)
    assert signed_in == local
    assert [(each.provider, each.email) for each in linked.identities] == [(identity_pb2.PROVIDER_GOOGLE, local.email)]
    assert linked.has_password


async def test_identity_of_another_account_cannot_be_linked(studio: Studio) -> None:
    account = account_at(studio, "discord")
    token = (await studio.service.session()).access_token
    async with studio.browser() as browser:
        await browser.sign_in("discord", account)
        answer = await browser.link("discord", account, token)
    assert failure_of(answer) == ("/account/identities", {"failure": "IDENTITY_TAKEN", "provider": "discord"})
    assert not (await studio.linked(token)).identities


async def test_attempt_to_link_is_worth_nothing_in_another_browser(studio: Studio) -> None:
    attackers_token = (await studio.service.session()).access_token
    victims_account = account_at(studio, "google")
    async with studio.browser() as attacker, studio.browser() as victim:
        address = await attacker.begin_linking("google", attackers_token)
        answer = await victim.come_back(await victim.consent(address, victims_account))
    assert failure_of(answer)[1]["cause"] == "state"
    assert not (await studio.linked(attackers_token)).identities


@pytest.mark.parametrize("headers", [{}, {"authorization": "Bearer forged"}])
async def test_linking_wants_an_access_token(studio: Studio, headers: dict[str, str]) -> None:
    async with studio.browser() as browser:
        answer = await browser.http.post("/session/identities", json={"provider": "PROVIDER_GOOGLE"}, headers=headers)
    assert answer.status_code == 401
    assert "set-cookie" not in answer.headers


async def test_page_of_another_origin_cannot_begin_to_link(studio: Studio) -> None:
    headers = {"origin": "https://evil.example", **dict(bearer((await studio.service.session()).access_token))}
    async with studio.browser() as browser:
        answer = await browser.http.post("/session/identities", json={"provider": "PROVIDER_GOOGLE"}, headers=headers)
    assert (answer.status_code, answer.json()["details"][0]["reason"]) == (403, "CALLER_NOT_ALLOWED")


async def test_last_way_in_cannot_be_removed(studio: Studio) -> None:
    account = account_at(studio, "google")
    async with studio.browser() as browser:
        token = await browser.sign_in("google", account)
        (identity,) = (await studio.linked(token)).identities
        error = await refusal(studio.unlink(token, identity.identity_id))
        assert await browser.sign_in("google", account)
    assert error.reason is Reason.LAST_WAY_IN


async def test_of_two_identities_that_are_removed_at_once_one_stays(studio: Studio) -> None:
    at_google, at_discord = account_at(studio, "google"), account_at(studio, "discord")
    async with studio.browser() as browser:
        token = await browser.sign_in("google", at_google)
        await browser.link("discord", at_discord, token)
        identities = (await studio.linked(token)).identities
        removals = [studio.unlink(token, identity.identity_id) for identity in identities]
        outcomes = await asyncio.gather(*removals, return_exceptions=True)

    assert [identity.provider for identity in identities] == [
        identity_pb2.PROVIDER_GOOGLE,
        identity_pb2.PROVIDER_DISCORD,
    ]
    assert sum(outcome is None for outcome in outcomes) == 1
    assert len((await studio.linked(token)).identities) == 1


async def test_unlinked_identity_signs_in_no_more(studio: Studio) -> None:
    local = await studio.service.register()
    token = (await studio.service.login(local.email)).access_token
    account = account_at(studio, "google", email=local.email)
    async with studio.browser() as browser:
        await browser.link("google", account, token)
        (identity,) = (await studio.linked(token)).identities
        await studio.unlink(token, identity.identity_id)
        await studio.unlink(token, identity.identity_id)
        answer = await browser.try_to_sign_in("google", account)
    assert failure_of(answer)[1]["failure"] == "EMAIL_TAKEN"


async def test_identity_of_somebody_else_cannot_be_removed(studio: Studio) -> None:
    account = account_at(studio, "google")
    async with studio.browser() as browser:
        token = await browser.sign_in("google", account)
    (identity,) = (await studio.linked(token)).identities
    await studio.unlink((await studio.service.session()).access_token, identity.identity_id)
    assert len((await studio.linked(token)).identities) == 1


async def test_identities_are_listed_in_pages(studio: Studio) -> None:
    token = (await studio.service.session()).access_token
    async with studio.browser() as browser:
        for provider in PROVIDERS:
            await browser.link(provider, account_at(studio, provider), token)
            studio.service.clock.advance(seconds=1)
    first = await studio.identities.ListIdentities(
        identity_service_pb2.ListIdentitiesRequest(page_size=1), metadata=bearer(token)
    )
    request = identity_service_pb2.ListIdentitiesRequest(page_size=1, page_token=first.next_page_token)
    second = await studio.identities.ListIdentities(request, metadata=bearer(token))

    found = [identity.provider for page in (first, second) for identity in page.identities]
    assert found == [identity_pb2.PROVIDER_GOOGLE, identity_pb2.PROVIDER_DISCORD]
    assert not second.next_page_token


async def test_command_line_gets_a_session_for_its_code_once(studio: Studio) -> None:
    account = account_at(studio, "google")
    async with studio.browser() as browser:
        callback = await browser.consent(await browser.leave("google", **LOOPBACK), account)
        answer = await browser.come_back(callback)
        assert "pingvas-refresh" not in dict(browser.http.cookies)

    address = urlsplit(answer.headers["location"])
    query = {name: value for name, (value,) in parse_qs(address.query).items()}
    assert (address.netloc, address.path) == ("127.0.0.1:49152", "/")
    assert set(query) == {"code", "state"}
    assert query["state"] == LOOPBACK["state"]
    user = await studio.me((await exchange(studio, query["code"])).access_token)
    assert user.email == account.email.lower()
    error = await refusal(exchange(studio, query["code"]))
    assert (error.reason, error.metadata["cause"]) == (Reason.PROVIDER_SIGN_IN_FAILED, "code")


async def test_code_is_worth_nothing_without_the_verifier(studio: Studio) -> None:
    account = account_at(studio, "discord")
    async with studio.browser() as browser:
        callback = await browser.consent(await browser.leave("discord", **LOOPBACK), account)
        answer = await browser.come_back(callback)
    (code,) = parse_qs(urlsplit(answer.headers["location"]).query)["code"]
    stolen = await refusal(exchange(studio, code, "w" * 43))
    late = await refusal(exchange(studio, code))
    assert stolen.reason is late.reason is Reason.PROVIDER_SIGN_IN_FAILED


async def test_command_line_is_told_of_a_refusal(studio: Studio) -> None:
    async with studio.browser() as browser:
        answer = await browser.come_back(await browser.consent(await browser.leave("google", **LOOPBACK), None))
    query = parse_qs(urlsplit(answer.headers["location"]).query)
    assert query == {"error": ["PROVIDER_SIGN_IN_FAILED"], "state": [LOOPBACK["state"]]}


@pytest.mark.parametrize(
    "changed",
    [{"port": "80"}, {"code_challenge": "short"}, {"state": "with space in it"}, {"redirect_uri": "http://x"}],
)
async def test_command_line_that_says_something_else_is_refused(studio: Studio, changed: dict[str, str]) -> None:
    async with studio.browser() as browser:
        answer = await browser.http.get("/api/v1/auth/google", params=LOOPBACK | changed, headers={"accept": "*/*"})
    assert answer.status_code == 400
    assert answer.json()["details"][0]["reason"] in {"INVALID_FIELD", "REQUEST_MALFORMED"}


async def test_providers_that_are_not_configured_are_not_offered(
    shared_studio: Studio, stand_ins: StandIns, database_for: DatabaseFactory, tmp_path: Path, own_redis: RedisServer
) -> None:
    without = {"google_client_id": ""}
    async with (
        running_studio(await database_for("user"), tmp_path, own_redis.url, stand_ins, **without) as without_google,
        without_google.browser() as browser,
    ):
        offered = await without_google.identities.GetProviders(identity_service_pb2.GetProvidersRequest())
        page = await browser.http.get("/api/v1/auth/google")
        program = await browser.http.get("/api/v1/auth/google", headers={"accept": "application/json"})

    assert (list(offered.providers), offered.studio_url) == ([identity_pb2.PROVIDER_DISCORD], STUDIO)
    assert failure_of(page) == ("/sign-in", {"failure": "PROVIDER_NOT_CONFIGURED", "provider": "google"})
    assert (program.status_code, program.json()["details"][0]["reason"]) == (404, "PROVIDER_NOT_CONFIGURED")


async def exchange(studio: Studio, code: str, verifier: str = VERIFIER) -> auth_service_pb2.TokenPair:
    request = identity_service_pb2.ExchangeSignInCodeRequest(code=code, code_verifier=verifier)
    return await studio.identities.ExchangeSignInCode(request)
