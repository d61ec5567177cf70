"""Who gets past the edge: every method, by every form, with every kind of credential, has an expected answer.

The internal services listen, unprotected, behind the same ports here: that nobody reaches them is the edge's doing alone.
"""

from collections.abc import Callable, Mapping

import pytest

from svc_common.clock import new_id
from svc_common.errors import Reason
from tests.contract import tokens
from tests.contract.surface import HttpRequest, Rpc, internal_rpcs, public_rpcs, rpc_named
from tests.contract.tokens import bearer
from tests.factories.messages import request_for
from tests.fakes.public_platform import PublicPlatform
from tests.harness_envoy import Edge, Metadata
from tests.harness_service import Identities

GET_JOB = rpc_named("GenerationService.GetJob")

Credential = Callable[[Identities], Metadata]

# What the edge says to a credential, and why, for methods that want a user.
REFUSED_CREDENTIALS: Mapping[str, tuple[Credential, Reason, str | None]] = {
    "anonymous": (lambda _: (), Reason.CREDENTIALS_MISSING, None),
    "basic": (lambda _: (("authorization", "Basic YWRhOnB3"),), Reason.CREDENTIALS_MISSING, None),
    "garbage": (lambda _: bearer("garbage"), Reason.TOKEN_INVALID, "malformed"),
    "expired": (lambda keys: bearer(tokens.expired(keys)), Reason.TOKEN_EXPIRED, None),
    "other audience": (lambda keys: bearer(tokens.of_other_audience(keys)), Reason.TOKEN_INVALID, "audience"),
    "other issuer": (lambda keys: bearer(tokens.of_other_issuer(keys)), Reason.TOKEN_INVALID, "issuer"),
    "unsigned": (lambda keys: bearer(tokens.unsigned(keys)), Reason.TOKEN_INVALID, "malformed"),
    "HS256 by the public key": (lambda keys: bearer(tokens.signed_with_public_key(keys)), Reason.TOKEN_INVALID, "key"),
    "tampered": (lambda keys: bearer(tokens.tampered(keys)), Reason.TOKEN_INVALID, "signature"),
    "without expiry": (lambda keys: bearer(tokens.without_expiry(keys)), Reason.TOKEN_INVALID, "signature"),
    "a service's": (lambda keys: keys.as_service("svc_generation"), Reason.TOKEN_INVALID, "issuer"),
}
_THREE_CREDENTIALS = ("anonymous", "garbage", "expired")

FOR_USERS = [rpc for rpc in public_rpcs() if not rpc.is_anonymous]
FOR_ANYBODY = [rpc for rpc in public_rpcs() if rpc.is_anonymous]


@pytest.mark.parametrize("kind", _THREE_CREDENTIALS)
@pytest.mark.parametrize("rpc", FOR_USERS, ids=str)
async def test_method_for_users_refuses_by_every_form(
    rpc: Rpc, kind: str, edge: Edge, platform: PublicPlatform, identities: Identities
) -> None:
    credential, reason, _ = REFUSED_CREDENTIALS[kind]
    request, headers = request_for(str(rpc)), credential(identities)
    assert (await edge.refusal_by_grpc(rpc, request, headers)).reason == reason
    assert (await edge.refusal_by_web(rpc.path, request, headers)).reason == reason
    for form in rpc.http_forms:
        status, refusal = await edge.refusal_by_http(form.request(request_for(str(rpc), form.body)), headers)
        assert (status, refusal.reason) == (401, reason)
    assert platform.calls == []


@pytest.mark.parametrize("kind", _THREE_CREDENTIALS)
@pytest.mark.parametrize("rpc", FOR_ANYBODY, ids=str)
async def test_method_for_anybody_passes_by_every_form(
    rpc: Rpc, kind: str, edge: Edge, platform: PublicPlatform, identities: Identities
) -> None:
    request, headers = request_for(str(rpc)), REFUSED_CREDENTIALS[kind][0](identities)
    await edge.call(rpc, request, headers)
    assert (await edge.call_web(rpc.path, request.SerializeToString(), headers)).code == 0
    for form in rpc.http_forms:
        assert (await edge.call_http(form.request(request_for(str(rpc), form.body)), headers)).status_code == 200
    assert len(platform.calls_of(rpc)) == 2 + len(rpc.http_forms)


@pytest.mark.parametrize("kind", REFUSED_CREDENTIALS)
async def test_refused_credential_is_told_precisely_by_every_form(
    kind: str, edge: Edge, identities: Identities
) -> None:
    credential, reason, cause = REFUSED_CREDENTIALS[kind]
    request, headers = request_for(str(GET_JOB)), credential(identities)
    # The services would refuse them as well, so that the calls not made must be counted.
    passed_before = await edge.requests_passed()
    by_grpc = await edge.refusal_by_grpc(GET_JOB, request, headers)
    by_web = await edge.refusal_by_web(GET_JOB.path, request, headers)
    status, by_http = await edge.refusal_by_http(GET_JOB.http_forms[0].request(request), headers)
    for refusal in (by_grpc, by_web, by_http):
        assert (refusal.reason, refusal.metadata.get("cause")) == (reason, cause)
    assert by_grpc.message == by_web.message == by_http.message
    assert status == 401
    assert await edge.requests_passed() == passed_before


async def test_token_passes_with_every_spelling_of_the_scheme(
    edge: Edge, platform: PublicPlatform, identities: Identities
) -> None:
    account_id = new_id()
    token = identities.as_user(account_id)[0][1].removeprefix("Bearer ")
    schemes = ("Bearer", "bearer", "BEARER", "bEaReR")
    for scheme in schemes:
        answer = await edge.http.get("/api/v1/users/me", headers={"authorization": f"{scheme} {token}"})
        assert answer.status_code == 200, answer.text
        assert answer.headers["cache-control"] == "no-store"
    assert [call.account_id for call in platform.calls] == [str(account_id)] * len(schemes)


async def test_token_in_the_query_is_no_credential(edge: Edge, identities: Identities) -> None:
    token = identities.as_user(new_id())[0][1].removeprefix("Bearer ")
    answer = await edge.http.get("/api/v1/users/me", params={"access_token": token})
    assert answer.status_code == 401


@pytest.mark.parametrize("rpc", internal_rpcs(), ids=str)
async def test_internal_method_doesnt_exist_at_the_edge(
    rpc: Rpc, edge: Edge, platform: PublicPlatform, identities: Identities
) -> None:
    request, headers = rpc.request_class(), identities.as_user(new_id())
    assert (await edge.refusal_by_grpc(rpc, request, headers)).reason == Reason.METHOD_NOT_FOUND
    assert (await edge.refusal_by_web(rpc.path, request, headers)).reason == Reason.METHOD_NOT_FOUND
    status, refusal = await edge.refusal_by_http(HttpRequest("POST", rpc.path, {}, b"{}"), headers)
    assert (status, refusal.reason) == (404, Reason.METHOD_NOT_FOUND)
    assert platform.breaches == []


@pytest.mark.parametrize("rpc", internal_rpcs(), ids=str)
async def test_internal_method_is_closed_to_its_own_callers_at_the_edge(
    rpc: Rpc, edge: Edge, platform: PublicPlatform, identities: Identities
) -> None:
    request, headers = rpc.request_class(), identities.as_service(rpc.rule.callers[0])
    assert (await edge.refusal_by_grpc(rpc, request, headers)).reason == Reason.TOKEN_INVALID
    assert (await edge.refusal_by_grpc(rpc, request)).reason == Reason.CREDENTIALS_MISSING
    assert platform.breaches == []
