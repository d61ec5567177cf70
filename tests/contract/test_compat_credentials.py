"""API keys at the APIs of other products: the bridge fetches tokens for them, as often as they are needed."""

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import httpx
import openai
import pytest
from fastapi import Request
from google.protobuf.message import Message
from pingvas.models.v1 import model_service_pb2
from pingvas.user.v1 import api_key_service_pb2

from edge_http.calls import Calls
from edge_http.compat.credentials import CallerCalls
from edge_http.routing import router_of
from svc_common.clock import new_id
from svc_common.contracts import DESCRIPTOR_SET
from svc_common.errors import Reason, ServiceError
from tests.fakes.drawing_platform import CREATE, WATCH
from tests.fakes.public_platform import PublicPlatform
from tests.harness_envoy import Edge
from tests.harness_service import Identities

EXCHANGE = "ApiKeyService.ExchangeApiKey"
MODELS = "ModelService.ListModels"


@pytest.fixture
def key() -> str:
    """A key that no test before has used: tokens are kept for half a minute."""
    return f"pgv_test_{new_id().hex}"


@pytest.fixture
def account_id(identities: Identities, studio: PublicPlatform) -> str:
    """The account of whoever has a key."""
    owner = new_id()
    ((_, header),) = identities.as_user(owner)

    async def exchange(_: Message) -> Message:
        return api_key_service_pb2.ExchangeApiKeyResponse(access_token=header.removeprefix("Bearer "))

    studio.answers[EXCHANGE] = exchange
    return str(owner)


def refusing(reason: Reason) -> Callable[[Message], Awaitable[Message]]:
    async def answer(_: Message) -> Message:
        raise ServiceError(reason, "no")

    return answer


async def test_key_draws_through_the_client_of_another_product(
    edge: Edge, studio: PublicPlatform, key: str, account_id: str
) -> None:
    base_url = f"http://127.0.0.1:{edge.port}/v1"
    async with openai.AsyncOpenAI(api_key=key, base_url=base_url, max_retries=0) as client:
        answer = await client.images.generate(prompt="a red circle", response_format="b64_json")

    assert answer.data is not None
    assert answer.data[0].b64_json
    calls = [*studio.calls_of(CREATE), *studio.calls_of(WATCH)]
    assert [call.account_id for call in calls] == [account_id] * 2
    # One token for all that the request caused, and the key itself reached nobody but svc_user.
    assert [call.request for call in studio.calls_of(EXCHANGE)] == [api_key_service_pb2.ExchangeApiKeyRequest(key=key)]


@pytest.mark.parametrize("header", ["x-api-key", "bearer", "basic"])
@pytest.mark.parametrize("path", ["/v1/models", "/v1/models?limit=1", "/mcp"])
async def test_key_is_taken_in_every_form(
    header: str, path: str, edge: Edge, studio: PublicPlatform, key: str, account_id: str
) -> None:
    headers = {"x-api-key": key} if header == "x-api-key" else {"authorization": f"Bearer {key}"}
    auth = httpx.BasicAuth("anybody", key) if header == "basic" else httpx.Auth()
    if path == "/mcp":
        headers |= {"accept": "application/json, text/event-stream"}
        call: dict[str, Any] = {"jsonrpc": "2.0", "id": 1, "method": "tools/call"}
        call["params"] = {"name": "list_models", "arguments": {}}
        answer = await edge.http.post(path, json=call, headers=headers, auth=auth)
    else:
        answer = await edge.http.get(path, headers=headers, auth=auth)

    assert answer.status_code == 200, answer.text
    assert [call.account_id for call in studio.calls_of(MODELS)] == [account_id]


@pytest.mark.parametrize(
    ("reason", "status", "code"),
    [
        (Reason.API_KEY_INVALID, 401, "invalid_api_key"),
        (Reason.RATE_LIMITED, 429, "rate_limit_exceeded"),
        (Reason.DEPENDENCY_UNAVAILABLE, 503, "dependency_unavailable"),
    ],
)
async def test_key_without_a_token_is_refused_with_the_cause(
    reason: Reason, status: int, code: str, edge: Edge, platform: PublicPlatform, key: str
) -> None:
    platform.answers[EXCHANGE] = refusing(reason)

    answer = await edge.http.get("/v1/models", headers={"authorization": f"Bearer {key}"})

    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
    assert platform.calls_of(MODELS) == []


async def test_key_that_is_too_long_is_refused_without_asking(edge: Edge, platform: PublicPlatform, key: str) -> None:
    answer = await edge.http.get("/v1/models", headers={"authorization": f"Bearer {key * 4}"})

    assert (answer.status_code, platform.calls) == (401, [])


async def test_request_that_outlives_a_token_gets_another(studio: PublicPlatform, key: str, account_id: str) -> None:
    router = router_of(DESCRIPTOR_SET.read_bytes())
    calls = Calls({area: f"127.0.0.1:{port}" for area, port in studio.ports.items()}, timedelta(seconds=15))
    now = 1000.0
    caller_calls = CallerCalls(router, calls, lambda: now)
    request = Request({"type": "http", "headers": [(b"authorization", f"Bearer {key}".encode())]})
    exchanges = []
    for later in (0, 29, 1):
        now += later
        await caller_calls.unary(router.named(MODELS), model_service_pb2.ListModelsRequest(), request)
        exchanges.append(len(studio.calls_of(EXCHANGE)))
    await calls.close()

    assert exchanges == [1, 1, 2]
