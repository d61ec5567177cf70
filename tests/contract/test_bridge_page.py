"""The bridge in front of browsers: where the refresh token is kept, and what the studio's page is served with."""

from collections.abc import AsyncIterator

import httpx
import pytest
import pytest_asyncio
from google.protobuf.message import Message
from pingvas.user.v1 import auth_service_pb2

from edge_http.page import Page
from svc_common.errors import Reason, ServiceError
from tests.fakes.public_platform import PublicPlatform
from tests.harness_bridge import running_bridge

COOKIE = "__Secure-pingvas-refresh"
CREDENTIALS = {"email": "person@example.com", "password": "a password for tests"}


@pytest_asyncio.fixture(scope="module")
async def client(
    shared_platform: PublicPlatform, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[httpx.AsyncClient]:
    folder = tmp_path_factory.mktemp("page")
    (folder / "assets").mkdir()
    (folder / "index.html").write_text("<!doctype html><title>the page</title>")
    (folder / "docs.html").write_text("<!doctype html><title>the documentation</title>")
    (folder / "assets" / "index-0a1b.js").write_text("export {}")
    (folder.parent / "secret.txt").write_text("not the page's")
    addresses = {area: f"127.0.0.1:{port}" for area, port in shared_platform.ports.items()}
    async with (
        running_bridge(addresses, Page(folder, "https://objects.example")) as port,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as made,
    ):
        yield made


@pytest.fixture
def tokens(platform: PublicPlatform) -> list[Message]:
    """Answers to Login and Refresh, with tokens numbered in turn; returns the requests that came."""
    asked: list[Message] = []

    async def answer(request: Message) -> Message:
        asked.append(request)
        number = len(asked)
        return auth_service_pb2.TokenPair(
            access_token=f"access-{number}", refresh_token=f"refresh-{number}", token_type="bearer", expires_in=600
        )

    platform.answers["AuthService.Login"] = platform.answers["AuthService.Refresh"] = answer
    return asked


def kept(answer: httpx.Response) -> tuple[str, set[str]]:
    """Returns the value that an answer puts into the cookie, and the cookie's attributes."""
    name_and_value, *attributes = answer.headers["set-cookie"].split("; ")
    name, _, value = name_and_value.partition("=")
    assert name == COOKIE
    return value.strip('"'), {attribute.lower() for attribute in attributes}


async def test_refresh_token_is_kept_in_a_cookie_that_no_script_reads(
    client: httpx.AsyncClient, tokens: list[Message]
) -> None:
    answer = await client.post("/session", json=CREDENTIALS)
    assert answer.json() == {"access_token": "access-1", "token_type": "bearer", "expires_in": 600}
    assert answer.headers["cache-control"] == "no-store"
    value, attributes = kept(answer)
    assert value == "refresh-1"
    assert {"httponly", "secure", "samesite=strict", "path=/session"} <= attributes
    assert tokens == [auth_service_pb2.LoginRequest(**CREDENTIALS)]


async def test_first_step_leaves_a_challenge_and_the_second_one_begins_the_session(
    client: httpx.AsyncClient, platform: PublicPlatform, tokens: list[Message]
) -> None:
    asked: list[Message] = []

    async def challenge(_: Message) -> Message:
        second_factor = auth_service_pb2.SecondFactorChallenge(challenge="dare", expires_in=300)
        return auth_service_pb2.TokenPair(second_factor=second_factor)

    async def verify(request: Message) -> Message:
        asked.append(request)
        return auth_service_pb2.TokenPair(access_token="access", refresh_token="refresh", expires_in=600)

    platform.answers["AuthService.Login"] = challenge
    platform.answers["AuthService.VerifySecondFactor"] = verify
    first = await client.post("/session", json=CREDENTIALS)
    assert (first.json()["access_token"], first.json()["second_factor"]) == ("", {"expires_in": 300})
    assert first.headers["set-cookie"].startswith(
        "__Secure-pingvas-challenge=dare; HttpOnly; Max-Age=300; Path=/session"
    )

    headers = {"cookie": "__Secure-pingvas-challenge=dare"}
    second = await client.post("/session/second-factor", json={"code": "123456"}, headers=headers)

    assert second.json()["access_token"] == "access"
    assert asked == [auth_service_pb2.VerifySecondFactorRequest(challenge="dare", code="123456")]
    cookies = second.headers.get_list("set-cookie")
    assert [cookie.partition(";")[0] for cookie in cookies] == [f"{COOKIE}=refresh", '__Secure-pingvas-challenge=""']


async def test_session_is_renewed_by_the_cookie_alone(client: httpx.AsyncClient, tokens: list[Message]) -> None:
    answer = await client.post("/session/refresh", headers={"cookie": f"{COOKIE}=before"})
    assert answer.json()["access_token"] == "access-1"
    assert kept(answer)[0] == "refresh-1"
    assert tokens == [auth_service_pb2.RefreshRequest(refresh_token="before")]


async def test_nobody_signed_in_is_no_error(client: httpx.AsyncClient, tokens: list[Message]) -> None:
    answer = await client.post("/session/refresh")
    assert (answer.status_code, answer.content, tokens) == (204, b"", [])


async def test_refused_refresh_token_leaves_the_browser(client: httpx.AsyncClient, platform: PublicPlatform) -> None:
    async def refuse(_: Message) -> Message:
        raise ServiceError(Reason.REFRESH_TOKEN_REUSED, "It was used before.")

    platform.answers["AuthService.Refresh"] = refuse
    answer = await client.post("/session/refresh", headers={"cookie": f"{COOKIE}=stolen"})
    assert (answer.status_code, answer.json()["details"][0]["reason"]) == (401, "REFRESH_TOKEN_REUSED")
    value, attributes = kept(answer)
    assert value == ""
    assert "max-age=0" in attributes


async def test_platform_that_is_away_leaves_the_session(client: httpx.AsyncClient, platform: PublicPlatform) -> None:
    async def fail(_: Message) -> Message:
        raise ServiceError(Reason.DEPENDENCY_UNAVAILABLE, "Away.", metadata={"dependency": "postgresql"})

    platform.answers["AuthService.Refresh"] = fail
    answer = await client.post("/session/refresh", headers={"cookie": f"{COOKIE}=good"})
    assert answer.status_code == 503
    assert "set-cookie" not in answer.headers


async def test_signing_out_revokes_the_token_and_removes_the_cookie(
    client: httpx.AsyncClient, platform: PublicPlatform
) -> None:
    answer = await client.delete("/session", headers={"cookie": f"{COOKIE}=mine"})
    assert (answer.status_code, kept(answer)[0]) == (204, "")
    assert [call.request for call in platform.calls] == [auth_service_pb2.LogoutRequest(refresh_token="mine")]


@pytest.mark.parametrize(
    ("verb", "path"),
    [("POST", "/session"), ("POST", "/session/refresh"), ("POST", "/session/second-factor"), ("DELETE", "/session")],
)
@pytest.mark.parametrize("origin", ["https://evil.example", "http://127.0.0.1:1", "null"])
async def test_pages_of_other_origins_have_no_session(
    client: httpx.AsyncClient, tokens: list[Message], verb: str, path: str, origin: str
) -> None:
    headers = {"cookie": f"{COOKIE}=mine", "origin": origin}
    answer = await client.request(verb, path, json=CREDENTIALS, headers=headers)
    assert (answer.status_code, answer.json()["details"][0]["reason"]) == (403, "CALLER_NOT_ALLOWED")
    assert tokens == []


async def test_unknown_field_of_a_sign_in_is_refused(client: httpx.AsyncClient, tokens: list[Message]) -> None:
    answer = await client.post("/session", json={**CREDENTIALS, "pasword": "x"})
    assert answer.status_code == 400
    assert "pasword" in answer.json()["message"]
    assert tokens == []


@pytest.mark.parametrize("path", ["/", "/gallery", "/gallery?image=1", "/any/place"])
async def test_every_place_of_the_page_is_the_page(client: httpx.AsyncClient, path: str) -> None:
    answer = await client.get(path, headers={"accept": "text/html,*/*;q=0.8"})
    assert (answer.status_code, "the page" in answer.text) == (200, True)
    assert answer.headers["cache-control"] == "no-cache"
    policy = answer.headers["content-security-policy"]
    assert "unsafe" not in policy
    assert "default-src 'none'" in policy
    assert "img-src 'self' blob: https://objects.example;" in policy


async def test_documentation_is_a_page_of_its_own_whose_styles_may_hold_their_icons(client: httpx.AsyncClient) -> None:
    answer = await client.get("/docs", headers={"accept": "text/html"})
    assert (answer.status_code, "the documentation" in answer.text) == (200, True)
    policy = answer.headers["content-security-policy"]
    assert "img-src 'self' blob: data:;" in policy
    assert "script-src 'self'; style-src 'self';" in policy


async def test_files_with_their_hash_in_the_name_are_kept_for_ever(client: httpx.AsyncClient) -> None:
    answer = await client.get("/assets/index-0a1b.js")
    assert (answer.status_code, answer.headers["content-type"].split(";")[0]) == (200, "text/javascript")
    assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("path", ["/%2e%2e/secret.txt", "/..%2fsecret.txt", "/assets/%2e%2e/%2e%2e/secret.txt"])
async def test_nothing_outside_of_the_page_is_served(client: httpx.AsyncClient, path: str) -> None:
    answer = await client.get(path)
    assert (answer.status_code, "not the page's" in answer.text) == (404, False)


@pytest.mark.parametrize("headers", [{}, {"accept": "text/html"}])
async def test_unknown_path_of_the_api_is_no_page(client: httpx.AsyncClient, headers: dict[str, str]) -> None:
    answer = await client.get("/api/v1/nothing", headers=headers)
    assert (answer.status_code, answer.json()["details"][0]["reason"]) == (404, "METHOD_NOT_FOUND")
