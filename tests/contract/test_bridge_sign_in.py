"""The addresses at which browsers leave for a provider and come back, as with https: through the bridge and the edge."""

from collections.abc import AsyncIterator

import httpx
import pytest
import pytest_asyncio
from google.protobuf.message import Message
from pingvas.user.v1 import auth_service_pb2, identity_pb2, identity_service_pb2

from svc_common.clock import new_id
from svc_common.errors import Reason, ServiceError
from tests.fakes.public_platform import PublicPlatform
from tests.harness_envoy import Edge
from tests.harness_service import Identities

COOKIE = "__Secure-pingvas-sign-in"
PAGE = {"accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
ATTEMPT = identity_service_pb2.SignInAttempt(
    authorization_url="https://provider.example/authorize?state=s", browser_secret="kept"
)
TOKENS = auth_service_pb2.TokenPair(access_token="access", refresh_token="refresh", token_type="bearer", expires_in=600)
IDENTITY = identity_pb2.Identity(identity_id="1", provider=identity_pb2.PROVIDER_GOOGLE)


@pytest_asyncio.fixture(scope="module")
async def bridge(bridge_port: int) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{bridge_port}") as client:
        yield client


@pytest.fixture(params=["bridge", "edge"])
def client(request: pytest.FixtureRequest, bridge: httpx.AsyncClient, edge: Edge) -> httpx.AsyncClient:
    return edge.http if request.param == "edge" else bridge


def answering(platform: PublicPlatform, name: str, answer: Message | ServiceError) -> list[Message]:
    """Makes a method answer; returns the requests that come."""
    asked: list[Message] = []

    async def respond(request: Message) -> Message:
        asked.append(request)
        if isinstance(answer, ServiceError):
            raise answer
        return answer

    platform.answers[f"IdentityService.{name}"] = respond
    return asked


def cookie_in(answer: httpx.Response, name: str) -> tuple[str, set[str]]:
    """Returns the value of a cookie that an answer sets, and its attributes."""
    (line,) = [each for each in answer.headers.get_list("set-cookie") if each.startswith(f"{name}=")]
    value, *attributes = line.partition("=")[2].split("; ")
    return value.strip('"'), {attribute.lower() for attribute in attributes}


@pytest.mark.parametrize("provider", ["google", "discord"])
async def test_browser_leaves_with_the_secret_in_a_cookie(
    client: httpx.AsyncClient, platform: PublicPlatform, provider: str
) -> None:
    asked = answering(platform, "BeginSignIn", ATTEMPT)
    answer = await client.get(f"/api/v1/auth/{provider}", headers=PAGE)

    assert (answer.status_code, answer.headers["location"]) == (303, ATTEMPT.authorization_url)
    value, attributes = cookie_in(answer, COOKIE)
    assert value == "sign-in.kept"
    # Lax: the provider's page sends the browser back.
    assert {"httponly", "secure", "samesite=lax", "path=/api/v1/auth", "max-age=600"} <= attributes
    expected = identity_pb2.Provider.Value(f"PROVIDER_{provider.upper()}")
    assert asked == [identity_service_pb2.BeginSignInRequest(provider=expected)]


async def test_browser_comes_back_with_a_session(client: httpx.AsyncClient, platform: PublicPlatform) -> None:
    asked = answering(platform, "CompleteSignIn", identity_service_pb2.CompleteSignInResponse(tokens=TOKENS))
    query = {"state": "s", "code": "c/1", "scope": "email profile", "authuser": "0", "prompt": "none"}
    headers = {**PAGE, "cookie": f"{COOKIE}=sign-in.kept"}
    answer = await client.get("/api/v1/auth/google/callback", params=query, headers=headers)

    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    value, attributes = cookie_in(answer, "__Secure-pingvas-refresh")
    assert value == "refresh"
    assert {"httponly", "secure", "samesite=strict", "path=/session"} <= attributes
    assert "max-age=0" in cookie_in(answer, COOKIE)[1]
    assert answer.content == b""
    assert asked == [
        identity_service_pb2.CompleteSignInRequest(
            provider=identity_pb2.PROVIDER_GOOGLE, state="s", code="c/1", browser_secret="kept"
        )
    ]


async def test_second_step_after_a_provider_is_taken_on_the_page(
    client: httpx.AsyncClient, platform: PublicPlatform
) -> None:
    challenge = auth_service_pb2.SecondFactorChallenge(challenge="dare", expires_in=300)
    tokens = auth_service_pb2.TokenPair(second_factor=challenge)
    answering(platform, "CompleteSignIn", identity_service_pb2.CompleteSignInResponse(tokens=tokens))
    answer = await client.get("/api/v1/auth/google/callback", params={"state": "s", "code": "c"}, headers=PAGE)

    assert (answer.status_code, answer.headers["location"]) == (303, "/sign-in?step=code")
    assert cookie_in(answer, "__Secure-pingvas-challenge")[0] == "dare"
    assert "refresh" not in answer.headers["set-cookie"]


@pytest.mark.parametrize(("purpose", "place"), [("sign-in", "/sign-in"), ("link", "/account/identities")])
async def test_failure_leads_to_the_page_that_it_concerns(
    client: httpx.AsyncClient, platform: PublicPlatform, purpose: str, place: str
) -> None:
    metadata = {"provider": "google", "cause": "state"}
    answering(platform, "CompleteSignIn", ServiceError(Reason.PROVIDER_SIGN_IN_FAILED, "No.", metadata=metadata))
    headers = {**PAGE, "cookie": f"{COOKIE}={purpose}.kept"}
    answer = await client.get("/api/v1/auth/google/callback", params={"state": "s", "code": "c"}, headers=headers)
    expected = f"{place}?failure=PROVIDER_SIGN_IN_FAILED&provider=google&cause=state"
    assert (answer.status_code, answer.headers["location"]) == (303, expected)
    assert "max-age=0" in cookie_in(answer, COOKIE)[1]


async def test_identity_that_was_linked_leads_to_the_list(client: httpx.AsyncClient, platform: PublicPlatform) -> None:
    answering(platform, "CompleteSignIn", identity_service_pb2.CompleteSignInResponse(linked=IDENTITY))
    answer = await client.get("/api/v1/auth/discord/callback", params={"state": "s", "code": "c"}, headers=PAGE)
    assert (answer.status_code, answer.headers["location"]) == (303, "/account/identities")
    assert "refresh" not in answer.headers["set-cookie"]


async def test_page_that_links_learns_where_to_go_and_no_secret(
    client: httpx.AsyncClient, platform: PublicPlatform, identities: Identities
) -> None:
    asked = answering(platform, "LinkIdentity", ATTEMPT)
    headers = dict(identities.as_user(new_id()))
    answer = await client.post("/session/identities", json={"provider": "PROVIDER_DISCORD"}, headers=headers)

    assert answer.json() == {"authorization_url": ATTEMPT.authorization_url}
    assert cookie_in(answer, COOKIE)[0] == "link.kept"
    assert asked == [identity_service_pb2.LinkIdentityRequest(provider=identity_pb2.PROVIDER_DISCORD)]


@pytest.mark.parametrize("path", ["/api/v1/auth/google/other", "/api/v1/auth/github", "/api/v1/auth/google/"])
async def test_other_addresses_beside_them_lead_nowhere(client: httpx.AsyncClient, path: str) -> None:
    answer = await client.get(path, headers={"accept": "application/json"})
    assert answer.status_code in {401, 404}


async def test_unknown_field_of_a_link_is_refused(
    client: httpx.AsyncClient, platform: PublicPlatform, identities: Identities
) -> None:
    asked = answering(platform, "LinkIdentity", ATTEMPT)
    headers = dict(identities.as_user(new_id()))
    answer = await client.post("/session/identities", json={"provder": "PROVIDER_DISCORD"}, headers=headers)
    assert answer.status_code == 400
    assert "provder" in answer.json()["message"]
    assert asked == []
