"""One API in three forms: gRPC, gRPC-web and JSON say the same of the same job, from its submission to its pictures."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
import pytest_asyncio
from google.protobuf import json_format
from google.protobuf.message import Message
from pingvas.generation.v1 import generation_service_pb2, job_event_pb2, job_pb2

from tests.contract.surface import Rpc, rpc_named
from tests.e2e.invariants import assert_invariants
from tests.e2e.stage import Person, Stage, create_request
from tests.harness_envoy import Edge, admin_client, server_sent_events

CREATE_JOB, GET_JOB = rpc_named("GenerationService.CreateJob"), rpc_named("GenerationService.GetJob")
WATCH_JOB, LIST_JOBS = rpc_named("GenerationService.WatchJob"), rpc_named("GenerationService.ListJobs")


@pytest_asyncio.fixture(scope="module")
async def edge(calm: Stage) -> AsyncIterator[Edge]:
    """The fleet's own edge, with a client of each kind."""
    ports = calm.fleet.layout.ports
    async with (
        admin_client(calm.fleet.layout.edge_admin) as admin,
        httpx.AsyncClient(base_url=calm.fleet.http, timeout=30.0) as http,
        grpc.aio.insecure_channel(calm.fleet.grpc) as channel,
    ):
        yield Edge(ports.edge, admin, http, channel, Path(calm.fleet.layout.log("envoy")))


@pytest.fixture(scope="module")
def person(calm: Stage) -> Person:
    return calm.person()


async def answers_of(edge: Edge, rpc: Rpc, request: Message, person: Person) -> list[Message]:
    """Calls by each form and returns the answers: gRPC, gRPC-web, and each HTTP path of the method."""
    by_grpc = await edge.call(rpc, request, person.metadata)
    web = await edge.call_web(rpc.path, request.SerializeToString(), person.metadata)
    assert (web.http_status, web.code, len(web.messages)) == (200, 0, 1)
    answers = [by_grpc, rpc.response_class.FromString(web.messages[0])]
    for form in rpc.http_forms:
        if form.body not in {"", "*"} and not request.HasField(form.body):
            continue  # the path of another operation
        answer = await edge.call_http(form.request(request), person.metadata)
        assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json"), answer.text
        answers.append(json_format.Parse(answer.text, rpc.response_class()))
    return answers


def with_plain_addresses(message: Any) -> Any:
    """Leaves the signatures out, which are made anew for each answer."""
    for image in message.images:
        image.url = image.url.partition("?")[0]
    return message


async def test_same_submission_gets_the_same_answer_in_each_form(calm: Stage, edge: Edge, person: Person) -> None:
    request = create_request("a fishing boat, „blue“ & white 🚤", request_id="in three forms", seed=9007199254740991)
    answers = await answers_of(edge, CREATE_JOB, request, person)
    # The path that takes the operation alone has no place for the request id but the header.
    header = (*person.metadata, ("idempotency-key", "in three forms"))
    operation = json_format.MessageToDict(request.text_to_image, preserving_proto_field_name=True)
    short = await edge.http.post("/api/v1/generate/text-to-image", json=operation, headers=dict(header))
    answers.append(json_format.Parse(short.text, job_pb2.Job()))
    assert all(answer == answers[0] for answer in answers)
    person.end_of(answers[0].job_id)  # type: ignore[attr-defined]
    made = calm.value("SELECT count(*) FROM generation.jobs WHERE account_id = $1", person.account_id)
    assert made == 1


async def test_different_submissions_differ_in_identity_only(edge: Edge, person: Person) -> None:
    answers = await answers_of(edge, CREATE_JOB, create_request("a dinghy", seed=3), person)
    assert len({answer.job_id for answer in answers}) == len(answers)  # type: ignore[attr-defined]
    for answer in answers:
        person.end_of(answer.job_id)  # type: ignore[attr-defined]
        for field in (
            "job_id",
            "create_time",
            "queue_position",
            "estimated_wait_seconds",
            "estimated_wait_p90_seconds",
        ):
            answer.ClearField(field)
    assert all(answer == answers[0] for answer in answers)


async def test_ended_job_reads_the_same_in_each_form(edge: Edge, person: Person) -> None:
    job = person.end_of(person.create("a barge", seed=9007199254740991).job_id)
    request = generation_service_pb2.GetJobRequest(job_id=job.job_id)
    answers = [with_plain_addresses(answer) for answer in await answers_of(edge, GET_JOB, request, person)]
    assert all(answer == with_plain_addresses(job) for answer in answers)
    lists = await answers_of(edge, LIST_JOBS, generation_service_pb2.ListJobsRequest(page_size=1), person)
    for page in lists:
        assert with_plain_addresses(page.jobs[0]) == answers[0]  # type: ignore[attr-defined]
        assert page.next_page_token  # type: ignore[attr-defined]


async def test_events_read_the_same_in_each_form(edge: Edge, person: Person) -> None:
    job = person.create("a canoe", step_count=5)
    by_grpc = list(person.watch(job.job_id))
    request = generation_service_pb2.WatchJobRequest(job_id=job.job_id)
    web = await edge.call_web(WATCH_JOB.path, request.SerializeToString(), person.metadata)
    by_web = [job_event_pb2.JobEvent.FromString(message) for message in web.messages]
    by_sse = await _events_by_sse(edge, person, job.job_id, "")
    drawn = [event for event in by_grpc if event.progress.stage != job_event_pb2.JOB_STAGE_LOADING_MODEL]
    assert [event.WhichOneof("detail") for event in drawn] == ["queued", "started", *["progress"] * 5, "completed"]
    for events in (by_web, by_sse):
        assert [_without_signature(event) for event in events] == [_without_signature(event) for event in by_grpc]


async def test_server_sent_events_are_taken_up_behind_the_last_one(edge: Edge, person: Person) -> None:
    job = person.create("a raft", step_count=5)
    whole = list(person.watch(job.job_id))
    for place in (0, 3, len(whole) - 1):
        rest = await _events_by_sse(edge, person, job.job_id, whole[place].event_id)
        assert [event.event_id for event in rest] == [event.event_id for event in whole[place + 1 :]]


async def test_presigned_address_gives_the_picture_to_whoever_has_it(edge: Edge, person: Person) -> None:
    job = person.end_of(person.create("a galleon", width_px=128, height_px=64).job_id)
    answer = await edge.http.get(f"/api/v1/jobs/{job.job_id}", headers=dict(person.metadata))
    (image,) = answer.json()["images"]
    async with httpx.AsyncClient() as anybody:
        content = (await anybody.get(image["url"])).content
    assert content.startswith(b"\x89PNG")
    assert (int.from_bytes(content[16:20], "big"), int.from_bytes(content[20:24], "big")) == (128, 64)


async def test_invariants_hold_after_all_forms(calm: Stage) -> None:
    assert_invariants(calm)


async def _events_by_sse(edge: Edge, person: Person, job_id: str, after: str) -> list[job_event_pb2.JobEvent]:
    query = {"after": after} if after else {}
    answer = await edge.http.get(f"/api/v1/jobs/{job_id}/events", params=query, headers=dict(person.metadata))
    if answer.status_code == 204:  # nothing behind the last event, now or later
        return []
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/event-stream")
    return [json_format.ParseDict(each, job_event_pb2.JobEvent()) for each in server_sent_events(answer.content)]


def _without_signature(event: job_event_pb2.JobEvent) -> job_event_pb2.JobEvent:
    same = job_event_pb2.JobEvent()
    same.CopyFrom(event)
    with_plain_addresses(same.completed) if same.HasField("completed") else same.queued.Clear()
    if not event.HasField("queued") and same.HasField("queued"):
        same.ClearField("queued")
    return same
