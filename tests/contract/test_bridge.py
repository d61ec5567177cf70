"""The HTTP bridge: every route of the contracts as through Envoy's transcoder, precise refusals, and resumable streams."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any, NoReturn

import httpx
import pytest
import pytest_asyncio
from google.protobuf import json_format
from google.protobuf.message import Message
from pingvas.generation.v1 import job_event_pb2

from svc_common.account_roles import AccountRole
from svc_common.clock import new_id
from svc_common.errors import Reason, ServiceError
from tests.contract.surface import HttpForm, HttpRequest, Rpc, public_rpcs, rpc_named
from tests.factories.messages import JOB_ID, filled, request_for
from tests.fakes.public_platform import PublicPlatform
from tests.harness_envoy import Edge, Metadata, json_refusal
from tests.harness_service import Identities

CREATE_JOB, WATCH_JOB = rpc_named("GenerationService.CreateJob"), rpc_named("GenerationService.WatchJob")
TEXT_TO_IMAGE = "/api/v1/generate/text-to-image"
EVENTS = f"/api/v1/jobs/{JOB_ID}/events"
FORMS = [
    pytest.param(rpc, form, id=f"{rpc}-{form.verb} {form.template}") for rpc in public_rpcs() for form in rpc.http_forms
]
UNARY_FORMS = [param for param in FORMS if not param.values[0].streams]  # type: ignore[union-attr]


@pytest.fixture
def caller(identities: Identities) -> Metadata:
    return identities.as_user(new_id(), role=AccountRole.ADMINISTRATOR)


@pytest_asyncio.fixture(scope="session")
async def bridge(bridge_port: int) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{bridge_port}", timeout=20.0) as client:
        yield client


async def call(client: httpx.AsyncClient, request: HttpRequest, headers: Metadata) -> httpx.Response:
    return await client.request(
        request.verb, request.path, params=request.query, content=request.content, headers=dict(headers)
    )


@pytest.mark.parametrize(("rpc", "form"), UNARY_FORMS)
async def test_route_answers_as_envoy_s_transcoder_does(
    rpc: Rpc, form: HttpForm, bridge: httpx.AsyncClient, edge: Edge, platform: PublicPlatform, caller: Metadata
) -> None:
    request = request_for(str(rpc), form.body)
    ours, theirs = (
        await call(bridge, form.request(request), caller),
        await edge.call_http(form.request(request), caller),
    )
    assert (ours.status_code, ours.json()) == (theirs.status_code, theirs.json())
    assert json_format.ParseDict(ours.json(), rpc.response_class()) == filled(rpc.response_class)
    assert [each.request for each in platform.calls_of(rpc)] == [request] * 2


@pytest.mark.parametrize(("rpc", "form"), [param for param in UNARY_FORMS if not param.values[0].is_anonymous])  # type: ignore[union-attr]
async def test_route_without_a_token_is_refused_as_by_envoy(
    rpc: Rpc, form: HttpForm, bridge: httpx.AsyncClient, edge: Edge, platform: PublicPlatform
) -> None:
    request = form.request(request_for(str(rpc), form.body))
    (ours, refusal), (theirs, expected) = (
        json_refusal(await call(bridge, request, ())),
        await edge.refusal_by_http(request),
    )
    assert (ours, refusal.reason) == (theirs, expected.reason) == (401, Reason.CREDENTIALS_MISSING)
    assert platform.calls == []


@pytest.mark.parametrize(("rpc", "form"), UNARY_FORMS)
async def test_unknown_parameter_is_refused_as_by_envoy(
    rpc: Rpc, form: HttpForm, bridge: httpx.AsyncClient, edge: Edge, platform: PublicPlatform, caller: Metadata
) -> None:
    good = form.request(request_for(str(rpc), form.body))
    request = HttpRequest(good.verb, good.path, {"colour": "blue"}, good.content)
    (ours, refusal), (theirs, expected) = (
        json_refusal(await call(bridge, request, caller)),
        await edge.refusal_by_http(request, caller),
    )
    assert (ours, refusal.reason) == (theirs, expected.reason) == (400, Reason.REQUEST_MALFORMED)
    assert "colour" in refusal.message
    assert platform.calls == []


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("steps", "step_count"),
        ("cfg_scale", "guidance_scale"),
        ("width", "width_px"),
        ("sampler_name", "scheduler"),
        ("batch_size", "image_count"),
        ("negativ_prompt", "negative_prompt"),
    ],
)
async def test_unknown_field_is_refused_with_its_path_and_the_field_that_was_meant(
    name: str, meant: str, bridge: httpx.AsyncClient, platform: PublicPlatform, caller: Metadata
) -> None:
    answer = await bridge.post(TEXT_TO_IMAGE, json={"prompt": "a boat", name: 1}, headers=dict(caller))
    status, refusal = json_refusal(answer)
    assert (status, refusal.reason) == (400, Reason.REQUEST_MALFORMED)
    assert refusal.message == f"Unknown field text_to_image.{name}; did you mean {meant}?"
    assert [violation.field for violation in refusal.violations] == [f"text_to_image.{name}"]
    assert platform.calls == []


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b'{"prompt": "a boat", ', "line 1"),
        (b'{"prompt": 5}', "prompt"),
        (b'{"prompt": "a", "prompt": "b"}', "given twice"),
        (b'{"prompt": "a", "guidance_scale": NaN}', "NaN"),
        (b'{"prompt": "a", "step_count": 1.5}', "step_count"),
        (b'{"prompt": "a", "step_count": 99999999999}', "step_count"),
        (b'{"prompt": "a", "seed": ' + b"9" * 5000 + b"}", "too long"),
        (b'{"prompt": "a", "loras": {"model_id": "x"}}', "must be a list"),
        (b'{"prompt": "a", "loras": [{"name": "x"}]}', "text_to_image.loras[0].name"),
        (b'{"prompt": "a", "loras": [5]}', "text_to_image.loras[0] must be a JSON object"),
        (b'{"prompt": ' + b"[" * 70 + b"]" * 70 + b"}", "nested deeper"),
        (b"[" * 100_000, "nested deeper"),
        (b'{"prompt": "a", "loras": [' + b"{}," * 1_000_000 + b"{}]}", "more than 100,000 braces"),
        (b'{"prompt": "\xff"}', "UTF-8"),
        (b'{"prompt": "\\ud800"}', ""),
        (b"5", "must be a JSON object"),
        (b"null", ""),
    ],
)
async def test_body_that_cannot_be_read_is_refused_precisely(
    content: bytes, words: str, bridge: httpx.AsyncClient, platform: PublicPlatform, caller: Metadata
) -> None:
    status, refusal = json_refusal(await bridge.post(TEXT_TO_IMAGE, content=content, headers=dict(caller)))
    assert status == 400
    assert words in refusal.message
    assert platform.calls == []


@pytest.mark.parametrize("count", [9, 20_000])
async def test_list_that_is_too_long_is_refused_before_its_items_are_looked_at(
    count: int, bridge: httpx.AsyncClient, platform: PublicPlatform, caller: Metadata
) -> None:
    content = b'{"prompt": "a", "loras": [' + b",".join([b'{"unknown": 1}'] * count) + b"]}"
    status, refusal = json_refusal(await bridge.post(TEXT_TO_IMAGE, content=content, headers=dict(caller)))
    assert (status, refusal.reason) == (400, Reason.INVALID_FIELD)
    (violation,) = refusal.violations
    assert (violation.field, violation.description) == ("text_to_image.loras", "must contain at most 8 item(s)")
    assert platform.calls == []


@pytest.mark.parametrize(
    ("verb", "path", "status"),
    [
        ("GET", "/", 404),
        ("GET", "/api/v1/nothing", 404),
        ("GET", "/api/v1/models/%00", 400),
        ("GET", "/api/v1/models/%FF", 400),
        ("GET", "/api/v1/models?page_size=%FF", 400),
        ("GET", "/api/v1/models?page_size=1&page_size=2", 400),
        ("GET", "/api/v1/models?page_size.x=2", 400),
        ("GET", "/api/v1/a%0Ab", 404),
        ("GET", "/api/v1/models/a/b", 404),
        ("HEAD", "/api/v1/models", 405),
        ("DELETE", "/api/v1/models", 405),
    ],
)
async def test_path_that_leads_nowhere_is_refused(
    verb: str, path: str, status: int, bridge: httpx.AsyncClient, platform: PublicPlatform, caller: Metadata
) -> None:
    answer = await bridge.request(verb, path, headers=dict(caller))
    assert answer.status_code == status
    assert answer.headers.get("allow") == ("GET" if status == 405 else None)
    assert platform.calls == []


@pytest.mark.parametrize(
    ("reason", "status"),
    [
        (Reason.INSUFFICIENT_CREDITS, 402),
        (Reason.MODEL_NOT_IN_TIER, 403),
        (Reason.JOB_NOT_FOUND, 404),
        (Reason.IDEMPOTENCY_KEY_REUSED, 409),
        (Reason.WORKER_LOST, 409),
        (Reason.QUEUE_FULL, 429),
        (Reason.RATE_LIMITED, 429),
        (Reason.STORAGE_QUOTA_EXCEEDED, 400),
        (Reason.INTERNAL, 500),
        (Reason.DEPENDENCY_UNAVAILABLE, 503),
        (Reason.DEADLINE_TOO_SHORT, 504),
    ],
)
async def test_refusal_has_the_status_of_its_reason_and_the_time_to_wait(
    reason: Reason, status: int, bridge: httpx.AsyncClient, platform: PublicPlatform, caller: Metadata
) -> None:
    async def refuse(_: Message) -> NoReturn:
        raise ServiceError(reason, "Says why.", retry_after=timedelta(seconds=2.5))

    platform.answers[str(CREATE_JOB)] = refuse
    answer = await bridge.post(TEXT_TO_IMAGE, json={"prompt": "a boat"}, headers=dict(caller))
    received, refusal = json_refusal(answer)
    assert (received, refusal.reason, refusal.retry_after) == (status, reason, timedelta(seconds=2.5))
    assert answer.headers["retry-after"] == "3"


async def test_headers_are_passed_on_and_identities_are_not(
    bridge: httpx.AsyncClient, platform: PublicPlatform, caller: Metadata
) -> None:
    sent = {**dict(caller), "idempotency-key": "once", "x-request-id": "request-1", "grpc-timeout": "60S"}
    forged = dict.fromkeys(("x-account-id", "x-edge-test", "x-tenant-id", "x-tier", "x-user-id"), "1")
    await bridge.post(TEXT_TO_IMAGE, json={"prompt": "a boat"}, headers=sent | forged)
    (received,) = platform.calls_of(CREATE_JOB)
    assert received.headers == {"idempotency-key": "once", "x-request-id": "request-1"}
    assert received.remaining_seconds is not None
    assert 30 < received.remaining_seconds <= 60.1  # gRPC rounds up


async def test_body_above_four_mebibytes_is_refused(bridge: httpx.AsyncClient, caller: Metadata) -> None:
    status, refusal = json_refusal(
        await bridge.post(TEXT_TO_IMAGE, json={"prompt": "x" * (4 << 20)}, headers=dict(caller))
    )
    assert (status, refusal.reason) == (413, Reason.REQUEST_TOO_LARGE)


async def test_client_that_goes_away_cancels_the_call(
    bridge: httpx.AsyncClient, platform: PublicPlatform, caller: Metadata
) -> None:
    begun, ended = asyncio.Event(), asyncio.Event()

    async def endless(_: Message) -> Message:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        raise AssertionError

    platform.answers[str(CREATE_JOB)] = endless
    task = asyncio.create_task(bridge.post(TEXT_TO_IMAGE, json={"prompt": "a boat"}, headers=dict(caller)))
    async with asyncio.timeout(5):
        await begun.wait()
        task.cancel()
        await ended.wait()


def numbered(*numbers: int) -> Any:
    async def events(request: Any) -> AsyncIterator[Message]:
        for number in numbers:
            if number > int(request.after or 0):
                yield job_event_pb2.JobEvent(event_id=str(number), job_id=JOB_ID)

    return events


async def test_events_have_ids_and_are_resumed_behind_the_last_one(
    bridge: httpx.AsyncClient, platform: PublicPlatform, caller: Metadata
) -> None:
    platform.streams[str(WATCH_JOB)] = numbered(1, 2, 3)
    answer = await bridge.get(EVENTS, headers=dict(caller))
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["x-accel-buffering"] == "no"
    retry, *blocks = [block.splitlines() for block in answer.text.split("\n\n") if block]
    assert retry[0].startswith("retry: ")
    assert [lines[0] for lines in blocks] == ["id: 1", "id: 2", "id: 3"]
    assert [json.loads(lines[1].removeprefix("data: "))["event_id"] for lines in blocks] == ["1", "2", "3"]
    again = await bridge.get(EVENTS, headers={**dict(caller), "last-event-id": "2"})
    assert (again.text.count("data:"), "id: 3" in again.text) == (1, True)
    explicit = await bridge.get(f"{EVENTS}?after=1", headers=dict(caller))
    assert explicit.text.count("data:") == 2
    # EventSource keeps its address when it comes back.
    both = await bridge.get(f"{EVENTS}?after=1", headers={**dict(caller), "last-event-id": "2"})
    assert both.text.count("data:") == 1


async def test_stream_with_nothing_behind_the_last_event_tells_the_browser_to_stop(
    bridge: httpx.AsyncClient, platform: PublicPlatform, caller: Metadata
) -> None:
    platform.streams[str(WATCH_JOB)] = numbered(1, 2, 3)
    answer = await bridge.get(EVENTS, headers={**dict(caller), "last-event-id": "3"})
    assert (answer.status_code, answer.content) == (204, b"")


async def test_refused_stream_tells_when_to_come_again(
    bridge: httpx.AsyncClient, platform: PublicPlatform, caller: Metadata
) -> None:
    async def refuse(_: Message) -> AsyncIterator[Message]:
        raise ServiceError(Reason.TOO_MANY_STREAMS, "25 are open.", retry_after=timedelta(seconds=5))
        yield

    platform.streams[str(WATCH_JOB)] = refuse
    answer = await bridge.get(EVENTS, headers=dict(caller))
    received, refusal = json_refusal(answer)
    assert (received, refusal.reason, answer.headers["retry-after"]) == (429, Reason.TOO_MANY_STREAMS, "5")


@pytest.mark.parametrize("sent", [b"no HTTP\r\n\r\n", b"GET / HTTP/1.1\r\nx: " + b"y" * 100_000])
async def test_what_is_no_http_is_refused_as_everything_else(sent: bytes, bridge_port: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", bridge_port)
    writer.write(sent)
    head, _, body = (await asyncio.wait_for(reader.read(), 10)).partition(b"\r\n\r\n")
    writer.close()
    status_line, *headers = head.decode().lower().split("\r\n")
    assert status_line == "http/1.1 400 bad request"
    assert "content-type: application/json" in headers
    status = json.loads(body)
    assert (status["code"], status["details"][0]["reason"]) == (3, "REQUEST_MALFORMED")


async def test_heartbeat_is_a_comment(bridge: httpx.AsyncClient, platform: PublicPlatform, caller: Metadata) -> None:
    async def events(_: Message) -> AsyncIterator[Message]:
        yield job_event_pb2.JobEvent(heartbeat=job_event_pb2.Heartbeat())

    platform.streams[str(WATCH_JOB)] = events
    answer = await bridge.get(EVENTS, headers=dict(caller))
    assert answer.text.endswith("\n\n: heartbeat\n\n")
    assert "data:" not in answer.text


async def test_stream_that_breaks_ends_with_the_refusal(
    bridge: httpx.AsyncClient, platform: PublicPlatform, caller: Metadata
) -> None:
    async def events(_: Message) -> AsyncIterator[Message]:
        yield job_event_pb2.JobEvent(event_id="1")
        raise ServiceError(Reason.DEPENDENCY_UNAVAILABLE, "PostgreSQL restarts.")

    platform.streams[str(WATCH_JOB)] = events
    answer = await bridge.get(EVENTS, headers=dict(caller))
    name, data = answer.text.strip().split("\n\n")[-1].splitlines()
    assert name == "event: error"
    assert json.loads(data.removeprefix("data: "))["message"] == "PostgreSQL restarts."


async def test_stream_is_one_document_a_line_when_that_is_wanted(
    bridge: httpx.AsyncClient, platform: PublicPlatform, caller: Metadata
) -> None:
    platform.streams[str(WATCH_JOB)] = numbered(1, 2)
    answer = await bridge.get(EVENTS, headers={**dict(caller), "accept": "application/x-ndjson"})
    assert answer.headers["content-type"].startswith("application/x-ndjson")
    assert [json.loads(line)["event_id"] for line in answer.text.splitlines()] == ["1", "2"]


async def test_refusal_before_the_first_event_is_a_plain_one(
    bridge: httpx.AsyncClient, platform: PublicPlatform, caller: Metadata
) -> None:
    async def events(_: Message) -> AsyncIterator[Message]:
        raise ServiceError(Reason.JOB_NOT_FOUND, "No such job.")
        yield

    platform.streams[str(WATCH_JOB)] = events
    status, refusal = json_refusal(await bridge.get(EVENTS, headers=dict(caller)))
    assert (status, refusal.reason) == (404, Reason.JOB_NOT_FOUND)


async def test_stream_ends_at_the_service_when_the_reader_goes_away(
    bridge: httpx.AsyncClient, platform: PublicPlatform, caller: Metadata
) -> None:
    ended = asyncio.Event()

    async def endless(_: Message) -> AsyncIterator[Message]:
        try:
            yield job_event_pb2.JobEvent(event_id="1")
            await asyncio.Event().wait()
        finally:
            ended.set()

    platform.streams[str(WATCH_JOB)] = endless
    async with bridge.stream("GET", EVENTS, headers=dict(caller)) as answer:
        await anext(answer.aiter_lines())
    async with asyncio.timeout(5):
        await ended.wait()


async def test_bridge_tells_its_health(bridge: httpx.AsyncClient) -> None:
    assert [(await bridge.get(path)).status_code for path in ("/healthz", "/readyz")] == [200, 200]
