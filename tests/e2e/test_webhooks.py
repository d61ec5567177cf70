"""A customer's receiver before the whole platform: registered by JSON through the edge, told of a job from start to end."""

import json
from collections.abc import Iterator

import pytest

from tests.e2e.invariants import assert_invariants
from tests.e2e.stage import Person, Stage, until
from tests.fakes.webhook_receiver import Receiver

ENDPOINTS = "/api/v1/webhooks/endpoints"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    yield made
    made.close()


def register(stage: Stage, person: Person, receiver: Receiver, *events: str) -> dict[str, str]:
    body = {"url": receiver.url, "events": [f"WEBHOOK_EVENT_JOB_{event}" for event in events]}
    answer = stage.http.post(ENDPOINTS, json=body, headers=dict(person.metadata))
    assert answer.status_code == 200, answer.text
    endpoint: dict[str, str] = answer.json()
    return endpoint


def test_job_is_told_from_start_to_end_with_progress_between(calm: Stage, receiver: Receiver) -> None:
    person = calm.person("pro")
    endpoint = register(calm, person, receiver, "STARTED", "PROGRESS", "COMPLETED")
    job = person.create("[[slow=0.1]] a red circle", step_count=40)
    until(lambda: "job.completed" in receiver.types(), "the end of the job at the receiver")
    types = receiver.types()
    assert types[0] == "job.started"
    assert types[-1] == "job.completed"
    assert set(types[1:-1]) == {"job.progress"}
    for received in receiver.received:
        assert received.verify(endpoint["secret"])["data"]["job_id"] == job.job_id
    # What a job names in a query of its HTTP form is checked before anything is paid for.
    wrong = "/api/v1/generate/text-to-image?webhook_endpoint_id=01937f3e-7c1b-7cc0-b2a5-0f6f2f7f5a11"
    refused = calm.http.post(wrong, content=json.dumps({"prompt": "x"}), headers=dict(person.metadata))
    assert (refused.status_code, refused.json()["details"][0]["reason"]) == (404, "WEBHOOK_NOT_FOUND")
    assert_invariants(calm)


def test_address_in_the_query_hears_of_its_job_alone(calm: Stage, receiver: Receiver) -> None:
    person = calm.person("pro")
    headers = dict(person.metadata)
    query = {
        "webhook_url": f"{receiver.url}?order=4711&name=a%20b",
        "webhook_events": ["WEBHOOK_EVENT_JOB_STARTED", "WEBHOOK_EVENT_JOB_COMPLETED"],
    }
    path = "/api/v1/generate/text-to-image"
    answer = calm.http.post(path, params=query, json={"prompt": "a red circle"}, headers=headers)
    assert answer.status_code == 200, answer.text
    person.create("a blue circle")
    until(lambda: "job.completed" in receiver.types(), "the end of the job at the receiver")
    secret = calm.http.get("/api/v1/webhooks/secret", headers=headers).json()["secret"]
    assert receiver.types() == ["job.started", "job.completed"]
    for received in receiver.received:
        assert received.path == "/hooks?order=4711&name=a%20b"
        assert received.verify(secret)["data"]["job_id"] == answer.json()["job_id"]
    refused = calm.http.post(path, params={"webhook_url": "nonsense"}, json={"prompt": "x"}, headers=headers)
    assert (refused.status_code, refused.json()["details"][0]["reason"]) == (400, "WEBHOOK_ADDRESS_REFUSED")
    assert_invariants(calm)


def test_event_outlives_the_process_that_was_to_send_it(shaken: Stage, receiver: Receiver) -> None:
    person = shaken.person("pro")
    register(shaken, person, receiver, "CANCELLED")
    with shaken.busy_workers(2):
        job = person.create("a red circle")
        person.cancel(job.job_id)
    shaken.fleet.kill("svc_generation")
    until(lambda: receiver.types() == ["job.cancelled"], "the event, once the service is back", within_seconds=120)
