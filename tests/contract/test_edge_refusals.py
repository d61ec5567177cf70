"""What bad input gets at the edge: a precise refusal in the form that the caller spoke, whether a service or Envoy refuses."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import NoReturn

import grpc
import pytest
import pytest_asyncio
from google.protobuf.message import Message
from pingvas.generation.v1 import generation_service_pb2, job_pb2

from edge_envoy.settings import Address, EdgeSettings
from svc_common.account_roles import AccountRole
from svc_common.clock import new_id
from svc_common.errors import FieldViolation, Reason, ServiceError
from tests.contract.surface import HttpRequest, rpc_named
from tests.factories.messages import JOB_ID, request_for
from tests.fakes.public_platform import PublicPlatform
from tests.harness_envoy import Edge, Metadata, json_refusal, running_edge
from tests.harness_service import Identities

CREATE_JOB, GET_JOB = rpc_named("GenerationService.CreateJob"), rpc_named("GenerationService.GetJob")
LIST_MODELS = rpc_named("ModelService.ListModels")
TEXT_TO_IMAGE = "/api/v1/generate/text-to-image"
FOUR_MEBIBYTES = 4 << 20
NOBODYS_PORT = 1


@pytest.fixture
def caller(identities: Identities) -> Metadata:
    return identities.as_user(new_id(), role=AccountRole.ADMINISTRATOR)


def post_job(content: bytes, query: dict[str, str] | None = None) -> HttpRequest:
    return HttpRequest("POST", TEXT_TO_IMAGE, query or {}, content)


async def test_broken_json_is_refused_with_the_place(edge: Edge, platform: PublicPlatform, caller: Metadata) -> None:
    status, refusal = await edge.refusal_by_http(post_job(b'{"prompt": "a boat", '), caller)
    assert (status, refusal.reason) == (400, Reason.REQUEST_MALFORMED)
    assert "end of string" in refusal.message
    assert platform.calls == []


async def test_value_of_the_wrong_json_type_is_refused_with_its_field(
    edge: Edge, platform: PublicPlatform, caller: Metadata
) -> None:
    status, refusal = await edge.refusal_by_http(post_job(b'{"prompt": 5}'), caller)
    assert (status, refusal.reason) == (400, Reason.REQUEST_MALFORMED)
    assert "prompt" in refusal.message
    assert platform.calls == []


@pytest.mark.parametrize("seed", ["18446744073709551615", '"18446744073709551615"', '"-9223372036854775809"', "1e30"])
async def test_seed_beyond_64_bits_is_refused_with_what_a_seed_may_be(
    seed: str, edge: Edge, platform: PublicPlatform, caller: Metadata
) -> None:
    status, refusal = await edge.refusal_by_http(post_job(f'{{"prompt": "a boat", "seed": {seed}}}'.encode()), caller)
    assert (status, refusal.reason) == (400, Reason.REQUEST_MALFORMED)
    assert "seed" in refusal.message
    assert "0 to 9007199254740991 (2^53 - 1)" in refusal.message
    assert "modulo 2^53" in refusal.message
    assert "TYPE_INT64" not in refusal.message
    assert platform.calls == []


async def test_unknown_query_parameter_is_refused_by_name(
    edge: Edge, platform: PublicPlatform, caller: Metadata
) -> None:
    status, refusal = await edge.refusal_by_http(HttpRequest("GET", "/api/v1/models", {"colour": "blue"}, b""), caller)
    assert (status, refusal.reason) == (400, Reason.REQUEST_MALFORMED)
    assert "colour" in refusal.message
    assert platform.calls == []


@pytest.mark.parametrize(
    ("verb", "path"),
    [
        ("GET", "/"),
        ("GET", "/api/v1/nothing"),
        ("GET", "/api/v2/models"),
        ("GET", "/pingvas.generation.v1.GenerationService/GetJob"),
    ],
)
async def test_unknown_path_is_refused_as_no_method(
    verb: str, path: str, edge: Edge, platform: PublicPlatform, caller: Metadata
) -> None:
    status, refusal = await edge.refusal_by_http(HttpRequest(verb, path, {}, b""), caller)
    assert (status, refusal.reason) == (404, Reason.METHOD_NOT_FOUND)
    assert platform.calls == []


@pytest.mark.parametrize(
    ("verb", "path", "allowed"),
    [
        ("POST", f"/api/v1/jobs/{JOB_ID}", "GET"),
        ("PUT", f"/api/v1/jobs/{JOB_ID}/", "GET"),
        ("GET", f"/api/v1/jobs/{JOB_ID}:cancel", "POST"),
        ("GET", f"/api/v1/queue/items/{JOB_ID}", "DELETE"),
        ("DELETE", "/api/v1/models", "GET"),
        ("GET", TEXT_TO_IMAGE, "POST"),
        ("POST", "/api/v1/users/me", "DELETE, GET, PATCH"),
        ("OPTIONS", "/api/v1/users/me", "DELETE, GET, PATCH"),
        ("PROPFIND", "/api/v1/users/me?x=1", "DELETE, GET, PATCH"),
    ],
)
async def test_verb_that_a_path_lacks_is_refused_with_those_it_has(
    verb: str, path: str, allowed: str, edge: Edge, platform: PublicPlatform, caller: Metadata
) -> None:
    answer = await edge.call_http(HttpRequest(verb, path, {}, b""), caller)
    status, refusal = json_refusal(answer)
    assert (status, answer.headers["allow"]) == (405, allowed)
    assert (refusal.reason, refusal.metadata) == (Reason.METHOD_NOT_FOUND, {"allow": allowed})
    assert platform.calls == []


class _Bytes:
    """A request of any bytes."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    def SerializeToString(self) -> bytes:
        return self._content


@pytest.mark.parametrize("content", [b"\xff\xff\xff", b"\x0a\x7fshort", b"\x0a\x02\xff\xfe"])
async def test_bytes_that_are_no_message_are_refused_by_every_form(
    content: bytes, edge: Edge, platform: PublicPlatform, caller: Metadata
) -> None:
    by_web = await edge.refusal_by_web(GET_JOB.path, _Bytes(content), caller)  # type: ignore[arg-type] - only serialised
    call = edge.channel.unary_unary(GET_JOB.path)
    with pytest.raises(grpc.aio.AioRpcError) as by_grpc:
        await call(content, metadata=caller)
    assert by_grpc.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert by_grpc.value.details() == by_web.message
    assert by_web.reason == Reason.REQUEST_MALFORMED
    assert platform.calls == []


@pytest.mark.parametrize("segment", ["%FF%FE", "%C3%28", "%ED%A0%80"])
async def test_path_parameter_that_is_no_text_is_refused(
    segment: str, edge: Edge, platform: PublicPlatform, caller: Metadata
) -> None:
    status, refusal = await edge.refusal_by_http(HttpRequest("GET", f"/api/v1/jobs/{segment}", {}, b""), caller)
    assert (status, refusal.reason) == (400, Reason.REQUEST_MALFORMED)
    assert platform.calls == []


@pytest.mark.parametrize("size", [9_000, 20_000, 60_000])
async def test_headers_above_the_limit_are_refused_in_json(
    size: int, edge: Edge, platform: PublicPlatform, caller: Metadata
) -> None:
    answer = await edge.http.get("/api/v1/models", headers={**dict(caller), "x-large": "x" * size})
    status, refusal = json_refusal(answer)
    assert (status, refusal.reason) == (431, Reason.REQUEST_MALFORMED)
    assert "x-edge" not in answer.text
    assert platform.calls == []


async def test_header_that_is_no_valid_http_is_refused_in_json(edge: Edge, caller: Metadata) -> None:
    answer = await edge.http.get("/api/v1/models", headers={**dict(caller), "x_user_id": "1"})
    status, refusal = json_refusal(answer)
    assert (status, refusal.reason) == (400, Reason.REQUEST_MALFORMED)


async def test_body_above_four_mebibytes_is_refused_by_every_form(
    edge: Edge, platform: PublicPlatform, caller: Metadata
) -> None:
    prompt = "x" * FOUR_MEBIBYTES
    request = generation_service_pb2.CreateJobRequest(text_to_image=job_pb2.TextToImage(prompt=prompt))
    status, by_http = await edge.refusal_by_http(post_job(json.dumps({"prompt": prompt}).encode()), caller)
    by_web = await edge.refusal_by_web(CREATE_JOB.path, request, caller)
    by_grpc = await edge.refusal_by_grpc(CREATE_JOB, request, caller)
    assert status == 413
    for refusal in (by_http, by_web, by_grpc):
        assert (refusal.reason, refusal.metadata) == (Reason.REQUEST_TOO_LARGE, {"limit_bytes": "4194304"})
    assert platform.calls == []


async def test_body_just_below_the_limit_reaches_the_contracts_rules(edge: Edge, caller: Metadata) -> None:
    body = json.dumps({"prompt": "x" * (FOUR_MEBIBYTES - 100)}).encode()
    status, refusal = await edge.refusal_by_http(post_job(body), caller)
    assert (status, refusal.reason) == (400, Reason.INVALID_FIELD)
    assert [violation.field for violation in refusal.violations] == ["text_to_image.prompt"]


async def test_service_s_refusal_keeps_every_detail_by_every_form(
    edge: Edge, platform: PublicPlatform, caller: Metadata
) -> None:
    refusal = ServiceError(
        Reason.QUEUE_FULL,
        "Five jobs wait (100 % of the free tier's limit). Try again in a moment.",
        metadata={"tier": "free", "limit": "5"},
        retry_after=timedelta(seconds=2.5),
        violations=[FieldViolation("text_to_image.image_count", "at most 1")],
    )

    async def refuse(_: Message) -> NoReturn:
        raise refusal

    platform.answers[str(CREATE_JOB)] = refuse
    request = request_for(str(CREATE_JOB))
    status, by_http = await edge.refusal_by_http(CREATE_JOB.http_forms[0].request(request), caller)
    by_grpc = await edge.refusal_by_grpc(CREATE_JOB, request, caller)
    assert status == 429
    for received in (by_http, by_grpc):
        assert (received.reason, received.message, received.metadata) == (
            refusal.reason,
            refusal.message,
            refusal.metadata,
        )
        assert (received.retry_after, received.violations) == (refusal.retry_after, refusal.violations)


@pytest.mark.parametrize("reason", [Reason.RATE_LIMITED, Reason.TOO_MANY_STREAMS])
@pytest.mark.parametrize("seconds", [0.04, 2.5])
async def test_refusal_tells_http_clients_in_whole_seconds_when_to_call_again(
    reason: Reason, seconds: float, edge: Edge, platform: PublicPlatform, caller: Metadata
) -> None:
    async def refuse(_: Message) -> NoReturn:
        raise ServiceError(reason, "Wait.", retry_after=timedelta(seconds=seconds))

    platform.answers[str(CREATE_JOB)] = refuse
    request = CREATE_JOB.http_forms[0].request(request_for(str(CREATE_JOB)))
    answer = await edge.call_http(request, caller)
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "3" if seconds > 1 else "1")


@pytest.mark.parametrize(
    ("reason", "status"),
    [
        (Reason.INSUFFICIENT_CREDITS, 402),
        (Reason.PAYMENT_OVERDUE, 402),
        (Reason.OPERATION_UNSUPPORTED, 400),
        (Reason.MODEL_NOT_IN_TIER, 403),
        (Reason.JOB_NOT_FOUND, 404),
        (Reason.IDEMPOTENCY_KEY_REUSED, 409),
        (Reason.INTERNAL, 500),
        (Reason.DEPENDENCY_UNAVAILABLE, 503),
    ],
)
async def test_service_s_refusal_has_the_http_status_of_its_code(
    reason: Reason, status: int, edge: Edge, platform: PublicPlatform, caller: Metadata
) -> None:
    async def refuse(_: Message) -> NoReturn:
        raise ServiceError(reason, "Says why.")

    platform.answers[str(CREATE_JOB)] = refuse
    request = CREATE_JOB.http_forms[0].request(request_for(str(CREATE_JOB)))
    received_status, refusal = await edge.refusal_by_http(request, caller)
    assert (received_status, refusal.reason) == (status, reason)


async def test_message_that_speaks_of_a_reason_changes_no_status(
    edge: Edge, platform: PublicPlatform, caller: Metadata
) -> None:
    async def refuse(_: Message) -> NoReturn:
        raise ServiceError(Reason.INVALID_FIELD, 'prompt: "reason":"INSUFFICIENT_CREDITS" isn\'t allowed')

    platform.answers[str(CREATE_JOB)] = refuse
    request = CREATE_JOB.http_forms[0].request(request_for(str(CREATE_JOB)))
    status, refusal = await edge.refusal_by_http(request, caller)
    assert (status, refusal.reason) == (400, Reason.INVALID_FIELD)


async def test_watch_that_is_refused_before_its_first_event_is_refused_in_json(
    edge: Edge, platform: PublicPlatform, caller: Metadata
) -> None:
    async def refuse(_: Message) -> AsyncIterator[Message]:
        raise ServiceError(Reason.JOB_NOT_FOUND, "No such job.")
        yield

    platform.streams["GenerationService.WatchJob"] = refuse
    request = HttpRequest("GET", f"/api/v1/jobs/{JOB_ID}/events", {}, b"")
    status, refusal = await edge.refusal_by_http(request, caller)
    assert (status, refusal.reason) == (404, Reason.JOB_NOT_FOUND)


async def test_reading_call_is_repeated_when_the_service_is_unavailable_for_a_moment(
    edge: Edge, platform: PublicPlatform, caller: Metadata
) -> None:
    async def unavailable_once(_: Message) -> Message:
        if len(platform.calls_of(GET_JOB)) == 1:
            raise ServiceError(Reason.DEPENDENCY_UNAVAILABLE, "Redis restarts.")
        return job_pb2.Job(job_id=JOB_ID)

    platform.answers[str(GET_JOB)] = unavailable_once
    assert (await edge.call(GET_JOB, request_for(str(GET_JOB)), caller)).job_id == JOB_ID


async def test_creating_call_is_never_repeated_by_the_edge(
    edge: Edge, platform: PublicPlatform, caller: Metadata
) -> None:
    async def unavailable(_: Message) -> NoReturn:
        raise ServiceError(Reason.DEPENDENCY_UNAVAILABLE, "PostgreSQL restarts.")

    platform.answers[str(CREATE_JOB)] = unavailable
    refusal = await edge.refusal_by_grpc(CREATE_JOB, request_for(str(CREATE_JOB)), caller)
    assert refusal.message == "PostgreSQL restarts."
    assert len(platform.calls_of(CREATE_JOB)) == 1


@pytest_asyncio.fixture
async def edge_without_models(edge_settings: EdgeSettings, folder: Path) -> AsyncIterator[Edge]:
    """An edge whose svc_models is down."""
    upstreams = {**edge_settings.upstreams, "models": Address("127.0.0.1", NOBODYS_PORT)}
    async with running_edge(replace(edge_settings, upstreams=upstreams), folder) as running:
        yield running


async def test_service_that_is_down_is_named_by_every_form_and_takes_no_other_with_it(
    edge_without_models: Edge, platform: PublicPlatform, caller: Metadata
) -> None:
    edge, request = edge_without_models, request_for(str(LIST_MODELS))
    status, by_http = await edge.refusal_by_http(LIST_MODELS.http_forms[0].request(request), caller)
    by_web = await edge.refusal_by_web(LIST_MODELS.path, request, caller)
    by_grpc = await edge.refusal_by_grpc(LIST_MODELS, request, caller)
    assert status == 503
    for refusal in (by_http, by_web, by_grpc):
        assert (refusal.reason, refusal.metadata) == (Reason.DEPENDENCY_UNAVAILABLE, {"dependency": "svc_models"})
    await edge.call(GET_JOB, request_for(str(GET_JOB)), caller)


async def test_bridge_that_is_down_is_named_and_takes_no_other_with_it(
    edge_settings: EdgeSettings, folder: Path, platform: PublicPlatform, caller: Metadata
) -> None:
    async with running_edge(replace(edge_settings, bridge=Address("127.0.0.1", NOBODYS_PORT)), folder) as edge:
        for request in (
            HttpRequest("GET", f"/api/v1/jobs/{JOB_ID}/events", {}, b""),
            HttpRequest("POST", "/session", {}, b"{}"),
        ):
            status, refusal = await edge.refusal_by_http(request, caller)
            assert (status, refusal.reason) == (503, Reason.DEPENDENCY_UNAVAILABLE)
            assert refusal.metadata == {"dependency": "edge_http"}
        await edge.call(GET_JOB, request_for(str(GET_JOB)), caller)


@pytest_asyncio.fixture
async def narrow_edge(edge_settings: EdgeSettings, folder: Path) -> AsyncIterator[Edge]:
    """An edge that lets three calls pass at once and one a second after them."""
    async with running_edge(replace(edge_settings, requests_per_second=1, request_burst=3), folder) as running:
        yield running


async def test_flood_is_refused_by_every_form_with_the_time_to_wait(
    narrow_edge: Edge, platform: PublicPlatform, caller: Metadata
) -> None:
    edge, request, started = narrow_edge, HttpRequest("GET", "/api/v1/users/me", {}, b""), time.monotonic()
    answers = await asyncio.gather(*(edge.call_http(request, caller) for _ in range(40)))
    refused = [answer for answer in answers if answer.status_code != 200]
    assert 3 <= len(answers) - len(refused) <= 3 + (time.monotonic() - started) + 1
    for answer in refused:
        status, refusal = json_refusal(answer)
        assert (status, refusal.reason, refusal.retry_after) == (429, Reason.OVERLOADED, timedelta(seconds=1))
        assert answer.headers["retry-after"] == "1"
    request = request_for(str(GET_JOB)).SerializeToString()
    by_web = await asyncio.gather(*(edge.call_web(GET_JOB.path, request, caller) for _ in range(20)))
    assert grpc.StatusCode.RESOURCE_EXHAUSTED.value[0] in {answer.code for answer in by_web}


async def test_flood_without_tokens_takes_nothing_from_those_who_have_one(
    narrow_edge: Edge, platform: PublicPlatform, caller: Metadata
) -> None:
    request = HttpRequest("GET", "/api/v1/users/me", {}, b"")
    anonymous = await asyncio.gather(*(narrow_edge.call_http(request) for _ in range(40)))
    assert {answer.status_code for answer in anonymous} == {401}
    answers = [await narrow_edge.call_http(request, caller) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 200]
