"""gRPC, gRPC-web and JSON are forms of one API: every public method says the same in each, and by each of its paths."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from google.protobuf import json_format
from google.protobuf.message import Message
from pingvas.generation.v1 import job_event_pb2, job_pb2

from svc_common.account_roles import AccountRole
from svc_common.clock import new_id
from tests.contract.surface import HttpForm, Rpc, public_rpcs, rpc_named
from tests.factories.messages import JOB_ID, filled, request_for
from tests.fakes.public_platform import PublicPlatform
from tests.harness_envoy import Edge, Metadata, server_sent_events, web_frame
from tests.harness_service import Identities

CREATE_JOB, GET_JOB = rpc_named("GenerationService.CreateJob"), rpc_named("GenerationService.GetJob")
WATCH_JOB, WATCH_JOBS = rpc_named("GenerationService.WatchJob"), rpc_named("GenerationService.WatchJobs")

HTTP_FORMS = [
    pytest.param(rpc, form, id=f"{rpc}-{form.verb} {form.template}") for rpc in public_rpcs() for form in rpc.http_forms
]


@pytest.fixture
def caller(identities: Identities) -> Metadata:
    return identities.as_user(new_id(), role=AccountRole.ADMINISTRATOR)


def parsed(rpc: Rpc, document: Any) -> Message:
    return json_format.ParseDict(document, rpc.response_class())


@pytest.mark.parametrize("rpc", public_rpcs(), ids=str)
async def test_public_method_has_an_http_form(rpc: Rpc) -> None:
    assert rpc.http_forms


@pytest.mark.parametrize("rpc", public_rpcs(), ids=str)
async def test_method_answers_whole_by_grpc(rpc: Rpc, edge: Edge, platform: PublicPlatform, caller: Metadata) -> None:
    request = request_for(str(rpc))
    if rpc.streams:
        answers = [event async for event in edge.watch(rpc, request, caller)]
    else:
        answers = [await edge.call(rpc, request, caller)]
    assert answers == [filled(rpc.response_class)] * (2 if rpc.streams else 1)
    assert [call.request for call in platform.calls_of(rpc)] == [request]


@pytest.mark.parametrize("rpc", public_rpcs(), ids=str)
async def test_method_answers_the_same_by_grpc_web(
    rpc: Rpc, edge: Edge, platform: PublicPlatform, caller: Metadata
) -> None:
    request = request_for(str(rpc))
    answer = await edge.call_web(rpc.path, request.SerializeToString(), caller)
    assert (answer.http_status, answer.content_type, answer.code) == (200, "application/grpc-web+proto", 0)
    assert [rpc.response_class.FromString(message) for message in answer.messages] == [filled(rpc.response_class)] * (
        2 if rpc.streams else 1
    )
    assert [call.request for call in platform.calls_of(rpc)] == [request]


@pytest.mark.parametrize(("rpc", "form"), HTTP_FORMS)
async def test_method_answers_the_same_by_each_http_form(
    rpc: Rpc, form: HttpForm, edge: Edge, platform: PublicPlatform, caller: Metadata
) -> None:
    request = request_for(str(rpc), form.body)
    answer = await edge.call_http(form.request(request), caller)
    assert answer.status_code == 200, answer.text
    if rpc.streams:
        assert answer.headers["content-type"] == "text/event-stream"
        documents = server_sent_events(answer.content)
    else:
        assert answer.headers["content-type"] == "application/json"
        documents = [answer.json()]
    assert [parsed(rpc, document) for document in documents] == [filled(rpc.response_class)] * len(documents)
    assert len(documents) == (2 if rpc.streams else 1)
    assert [call.request for call in platform.calls_of(rpc)] == [request]


async def test_json_has_proto_names_strings_for_64_bits_and_every_field(
    edge: Edge, platform: PublicPlatform, caller: Metadata
) -> None:
    async def answer(_: Message) -> Message:
        return job_pb2.Job(job_id=JOB_ID, state=job_pb2.JOB_STATE_QUEUED, images=[job_pb2.JobImage(seed=2**53 + 1)])

    platform.answers[str(GET_JOB)] = answer
    document = (await edge.http.get(f"/api/v1/jobs/{JOB_ID}", headers=dict(caller))).json()
    assert document["job_id"] == JOB_ID
    assert document["state"] == "JOB_STATE_QUEUED"
    assert document["images"][0]["seed"] == "9007199254740993"
    assert (document["queue_position"], document["credits_used"], document["attempt"]) == (0, "", 0)


async def test_events_path_is_not_taken_for_a_job_named_events(
    edge: Edge, platform: PublicPlatform, caller: Metadata
) -> None:
    answer = await edge.http.get("/api/v1/jobs/events", headers=dict(caller))
    assert answer.headers["content-type"] == "text/event-stream"
    assert [call.rpc for call in platform.calls] == [str(WATCH_JOBS)]


async def test_idempotency_key_reaches_the_handler_by_every_form(
    edge: Edge, platform: PublicPlatform, caller: Metadata
) -> None:
    request, headers = request_for(str(CREATE_JOB)), (*caller, ("idempotency-key", "once-only"))
    await edge.call(CREATE_JOB, request, headers)
    await edge.call_web(CREATE_JOB.path, request.SerializeToString(), headers)
    for form in CREATE_JOB.http_forms:
        await edge.call_http(form.request(request_for(str(CREATE_JOB), form.body)), headers)
    keys = [call.headers["idempotency-key"] for call in platform.calls_of(CREATE_JOB)]
    assert keys == ["once-only"] * (2 + len(CREATE_JOB.http_forms))
    assert len(keys) >= 7


async def test_event_arrives_by_sse_before_the_next_one_exists(
    edge: Edge, platform: PublicPlatform, caller: Metadata
) -> None:
    sent: asyncio.Queue[Message | None] = asyncio.Queue()
    sent.put_nowait(job_event_pb2.JobEvent(event_id="1"))
    platform.streams[str(WATCH_JOB)] = lambda _: _from(sent)
    async with edge.http.stream("GET", f"/api/v1/jobs/{JOB_ID}/events", headers=dict(caller)) as answer:
        lines = answer.aiter_lines()
        assert [await anext(lines), await anext(lines)] == ["retry: 2000", ""]
        for number in range(1, 6):
            async with asyncio.timeout(5):
                assert await anext(lines) == f"id: {number}"
                document = await anext(lines)
                assert await anext(lines) == ""
            assert json.loads(document.removeprefix("data: "))["event_id"] == str(number)
            sent.put_nowait(job_event_pb2.JobEvent(event_id=str(number + 1)) if number < 5 else None)
        assert [line async for line in lines] == []


async def test_event_arrives_by_grpc_web_before_the_next_one_exists(
    edge: Edge, platform: PublicPlatform, caller: Metadata
) -> None:
    events = [job_event_pb2.JobEvent(event_id=str(number)) for number in range(1, 4)]
    sent: asyncio.Queue[Message | None] = asyncio.Queue()
    sent.put_nowait(events[0])
    platform.streams[str(WATCH_JOB)] = lambda _: _from(sent)
    headers = {"content-type": "application/grpc-web+proto", **dict(caller)}
    content = web_frame(request_for(str(WATCH_JOB)).SerializeToString())
    async with edge.http.stream("POST", WATCH_JOB.path, content=content, headers=headers) as answer:
        chunks = answer.aiter_raw()
        for event, following in zip(events, [*events[1:], None], strict=True):
            async with asyncio.timeout(5):
                assert await anext(chunks) == web_frame(event.SerializeToString())
            sent.put_nowait(following)
        assert b"grpc-status:0" in b"".join([chunk async for chunk in chunks])


async def test_stream_ends_at_the_service_when_the_reader_goes_away(
    edge: Edge, platform: PublicPlatform, caller: Metadata
) -> None:
    ended = asyncio.Event()

    async def endless(_: Message) -> AsyncIterator[Message]:
        try:
            yield job_event_pb2.JobEvent(event_id="1")
            await asyncio.Event().wait()
        finally:
            ended.set()

    platform.streams[str(WATCH_JOB)] = endless
    async with edge.http.stream("GET", f"/api/v1/jobs/{JOB_ID}/events", headers=dict(caller)) as answer:
        await anext(answer.aiter_lines())
    async with asyncio.timeout(5):
        await ended.wait()


async def _from(queue: asyncio.Queue[Message | None]) -> AsyncIterator[Message]:
    while (event := await queue.get()) is not None:
        yield event
