"""API keys at a real Envoy: a token takes their place on the way in, whichever header they came in."""

import base64
from collections.abc import Awaitable, Callable, Sequence
from uuid import UUID

import pytest
from pingvas.user.v1 import api_key_service_pb2

from edge_envoy.settings import EdgeSettings
from svc_common.clock import new_id
from svc_common.errors import Reason, ServiceError
from tests.contract.surface import Rpc, rpc_named
from tests.factories.messages import request_for
from tests.fakes.public_platform import PublicPlatform
from tests.harness_envoy import Edge, Metadata
from tests.harness_service import Identities

GET_JOB = rpc_named("GenerationService.GetJob")
EXCHANGE = "ApiKeyService.ExchangeApiKey"

Exchange = Callable[[api_key_service_pb2.ExchangeApiKeyRequest], Awaitable[api_key_service_pb2.ExchangeApiKeyResponse]]


def new_key() -> str:
    """Returns a key that no test before has used: the edge keeps tokens for half a minute."""
    return f"pgv_test_{new_id().hex}"


def basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def giving_token_of(identities: Identities, account_id: UUID) -> Exchange:
    ((_, header),) = identities.as_user(account_id)

    async def answer(_: object) -> api_key_service_pb2.ExchangeApiKeyResponse:
        return api_key_service_pb2.ExchangeApiKeyResponse(
            access_token=header.removeprefix("Bearer "), token_type="bearer", expires_in=60
        )

    return answer


def refusing(reason: Reason) -> Exchange:
    async def answer(_: object) -> api_key_service_pb2.ExchangeApiKeyResponse:
        raise ServiceError(reason, "no")

    return answer


def keys_seen(platform: PublicPlatform) -> Sequence[str]:
    calls = platform.calls_of(EXCHANGE)
    return [call.request.key for call in calls if isinstance(call.request, api_key_service_pb2.ExchangeApiKeyRequest)]


@pytest.mark.parametrize(
    "credential",
    [
        lambda key: (("x-api-key", key),),
        lambda key: (("authorization", f"Bearer {key}"),),
        lambda key: (("authorization", f"bearer  {key}"),),
        lambda key: (("authorization", basic("", key)),),
        lambda key: (("authorization", basic("anybody at all", key)),),
    ],
)
async def test_key_is_taken_in_place_of_a_token_by_every_form(
    credential: Callable[[str], Metadata], edge: Edge, platform: PublicPlatform, identities: Identities
) -> None:
    key, account_id = new_key(), new_id()
    platform.answers[EXCHANGE] = giving_token_of(identities, account_id)
    request, headers = request_for(str(GET_JOB)), credential(key)

    await edge.call(GET_JOB, request, headers)
    assert (await edge.call_web(GET_JOB.path, request.SerializeToString(), headers)).code == 0
    for form in GET_JOB.http_forms:
        assert (await edge.call_http(form.request(request), headers)).status_code == 200

    # One exchange for all of them.
    assert keys_seen(platform) == [key]
    assert {call.account_id for call in platform.calls_of(GET_JOB)} == {str(account_id)}


@pytest.mark.parametrize(
    ("answer", "told", "http_status"),
    [
        (Reason.API_KEY_INVALID, Reason.API_KEY_INVALID, 401),
        (Reason.INVALID_FIELD, Reason.API_KEY_INVALID, 401),
        (Reason.RATE_LIMITED, Reason.RATE_LIMITED, 429),
        (Reason.DEPENDENCY_UNAVAILABLE, Reason.DEPENDENCY_UNAVAILABLE, 503),
    ],
)
async def test_key_without_a_token_is_refused_with_the_cause_by_every_form(
    answer: Reason, told: Reason, http_status: int, edge: Edge, platform: PublicPlatform
) -> None:
    platform.answers[EXCHANGE] = refusing(answer)
    request, headers = request_for(str(GET_JOB)), (("x-api-key", new_key()),)

    assert (await edge.refusal_by_grpc(GET_JOB, request, headers)).reason == told
    assert (await edge.refusal_by_web(GET_JOB.path, request, headers)).reason == told
    for form in GET_JOB.http_forms:
        status, refusal = await edge.refusal_by_http(form.request(request), headers)
        assert (status, refusal.reason) == (http_status, told)
    assert platform.calls_of(GET_JOB) == []


async def test_key_that_is_too_long_is_refused_without_asking(edge: Edge, platform: PublicPlatform) -> None:
    refusal = await edge.refusal_by_grpc(GET_JOB, request_for(str(GET_JOB)), (("x-api-key", "pgv_" + "x" * 200),))

    assert refusal.reason is Reason.API_KEY_INVALID
    assert platform.calls == []


@pytest.mark.parametrize("headers", [(("x-api-key", "sk-other"),), (("authorization", basic("ada", "secret")),)])
async def test_other_credentials_are_no_keys(headers: Metadata, edge: Edge, platform: PublicPlatform) -> None:
    refusal = await edge.refusal_by_grpc(GET_JOB, request_for(str(GET_JOB)), headers)

    assert refusal.reason is Reason.CREDENTIALS_MISSING
    assert platform.calls == []


async def test_token_is_not_replaced_by_a_key_beside_it(
    edge: Edge, platform: PublicPlatform, identities: Identities
) -> None:
    account_id = new_id()
    headers = (*identities.as_user(account_id), ("x-api-key", new_key()))

    await edge.call(GET_JOB, request_for(str(GET_JOB)), headers)

    assert keys_seen(platform) == []
    assert [call.account_id for call in platform.calls_of(GET_JOB)] == [str(account_id)]


async def test_callers_do_not_choose_the_cause_themselves(edge: Edge) -> None:
    headers = (("x-edge-api-key", "away"),)

    assert (await edge.refusal_by_grpc(GET_JOB, request_for(str(GET_JOB)), headers)).reason is (
        Reason.CREDENTIALS_MISSING
    )


def test_edge_asks_the_cluster_that_serves_keys(edge_settings: EdgeSettings) -> None:
    rpc: Rpc = rpc_named(EXCHANGE)

    assert (rpc.area, rpc.path) == ("user", "/pingvas.user.v1.ApiKeyService/ExchangeApiKey")
    assert rpc.area in edge_settings.upstreams
