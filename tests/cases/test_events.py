"""Server-sent events as a browser's EventSource takes them: resumed by Last-Event-ID, and ended for good at the end.

Reported of others as anomalyco/opencode#29544 and Bewinxed/river.ts#3. The reader is written after HTML, section 9.2.
"""

import json
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest

from svc_common.errors import Reason
from tests.e2e.stage import Person, Stage
from tests.harness_envoy import json_refusal


@dataclass
class EventSource:
    """As much of a browser's EventSource as there is without its clock."""

    stage: Stage
    path: str
    headers: dict[str, str]
    last_event_id: str = ""
    messages: list[Any] = field(default_factory=list)
    is_closed: bool = False

    def connect(self, *, at_most: int = 1000) -> None:
        """Connects once and reads to the end of the stream, or leaves after so many messages."""
        resume = {"last-event-id": self.last_event_id} if self.last_event_id else {}
        wanted = len(self.messages) + at_most
        with self.stage.http.stream(
            "GET", self.path, headers={**self.headers, "accept": "text/event-stream", **resume}
        ) as answer:
            if answer.status_code != httpx.codes.OK or answer.headers["content-type"] != "text/event-stream":
                self.is_closed = True
                return
            data, last_id = "", self.last_event_id
            for line in answer.iter_lines():
                name, _, value = line.partition(":")
                value = value.removeprefix(" ")
                if name == "id":
                    last_id = value
                elif name == "data":
                    data += value
                elif not line and data:
                    self.messages.append(json.loads(data))
                    self.last_event_id, data = last_id, ""
                    if len(self.messages) == wanted:
                        return


@pytest.fixture(scope="module")
def person(studio: Stage) -> Person:
    return studio.person("enterprise")


def source(studio: Stage, person: Person, job_id: str) -> EventSource:
    return EventSource(studio, f"/api/v1/jobs/{job_id}/events", dict(person.metadata))


def test_event_source_misses_and_repeats_nothing_and_stops_at_the_end(studio: Stage, person: Person) -> None:
    job = person.create("a heron", step_count=8)
    cut = source(studio, person, job.job_id)
    connections = 0
    while not cut.is_closed:
        cut.connect(at_most=3)
        connections += 1
        assert connections < 50, "EventSource would reconnect for ever"
    whole = source(studio, person, job.job_id)
    whole.connect()
    ids = [message["event_id"] for message in whole.messages]
    assert [message["event_id"] for message in cut.messages] == ids
    assert len(set(ids)) == len(ids) > 3
    assert "completed" in cut.messages[-1]
    assert cut.last_event_id == ids[-1]


def test_ended_job_whose_end_was_seen_is_answered_204_at_once(studio: Stage, person: Person) -> None:
    job = person.create("a bittern", step_count=2)
    person.end_of(job.job_id)
    seen = source(studio, person, job.job_id)
    seen.connect()
    headers = {**seen.headers, "last-event-id": seen.last_event_id}
    answer = studio.http.get(seen.path, headers=headers)
    assert (answer.status_code, answer.content) == (204, b"")


def test_header_that_is_no_event_id_is_refused(studio: Stage, person: Person) -> None:
    job = person.create("a stork", step_count=2)
    path = f"/api/v1/jobs/{job.job_id}/events"
    status, refusal = json_refusal(studio.http.get(path, headers={**dict(person.metadata), "last-event-id": "x"}))
    assert (status, refusal.reason) == (400, Reason.EVENT_ID_INVALID)


def test_browser_may_send_the_header_from_another_origin(studio: Stage) -> None:
    answer = studio.http.options(
        "/api/v1/jobs/events",
        headers={
            "origin": "http://localhost:3000",
            "access-control-request-method": "GET",
            "access-control-request-headers": "authorization,last-event-id",
        },
    )
    assert answer.status_code == 200
    assert "last-event-id" in answer.headers["access-control-allow-headers"].split(", ")
    assert answer.headers["access-control-allow-origin"] == "http://localhost:3000"
