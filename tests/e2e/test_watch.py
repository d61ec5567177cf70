"""Streams of events: whoever is cut off takes them up again and has missed nothing and seen nothing twice."""

import time
from collections.abc import Sequence

import pytest
from pingvas.generation.v1 import job_event_pb2, job_pb2

from svc_common.errors import Reason
from svc_generation.domain.event_ids import EventId
from tests.e2e.invariants import assert_invariants
from tests.e2e.stage import TERMINAL_DETAILS, JobEvent, Person, Stage, refusal_of


@pytest.fixture(scope="module")
def person(calm: Stage) -> Person:
    return calm.person()


def ids(events: Sequence[JobEvent]) -> list[EventId]:
    return [EventId.parse(event.event_id) for event in events]


def assert_one_watchers_view(events: Sequence[JobEvent]) -> None:
    """I7: increasing ids, and one terminal event, at the end."""
    assert ids(events) == sorted(set(ids(events)))
    assert [event.WhichOneof("detail") in TERMINAL_DETAILS for event in events] == [False] * (len(events) - 1) + [True]


def without_what_changes(event: JobEvent) -> JobEvent:
    """Leaves out what is computed anew for each reader: the estimate, and the signature in addresses."""
    same = JobEvent()
    same.CopyFrom(event)
    if same.HasField("queued"):
        same.queued.Clear()
    for image in same.completed.images:
        image.url = image.url.partition("?")[0]
    return same


def without_loading(events: Sequence[JobEvent]) -> list[JobEvent]:
    """Leaves out what only the first job on a worker has: that its model is being loaded."""
    return [event for event in events if event.progress.stage != job_event_pb2.JOB_STAGE_LOADING_MODEL]


def watch_cutting_after_each(person: Person, job_id: str) -> list[JobEvent]:
    events: list[JobEvent] = []
    while not (events and events[-1].WhichOneof("detail") in TERMINAL_DETAILS):
        stream = person.watch(job_id, events[-1].event_id if events else "")
        events += stream.read(1)
        stream.cut()
    return events


def test_stream_cut_after_every_event_misses_and_repeats_nothing_while_the_job_runs(person: Person) -> None:
    job = person.create("[[slow=0.1]] a heron", step_count=20)
    uncut = person.watch(job.job_id)
    cut = watch_cutting_after_each(person, job.job_id)
    whole = list(uncut)
    assert_one_watchers_view(whole)
    assert list(map(without_what_changes, cut)) == list(map(without_what_changes, whole))
    drawn = without_loading(whole)
    assert [event.WhichOneof("detail") for event in drawn] == ["queued", "started", *["progress"] * 20, "completed"]
    assert [event.progress.step for event in drawn[2:-1]] == list(range(1, 21))


def test_stream_taken_up_at_any_event_of_an_ended_job_gives_exactly_the_rest(person: Person) -> None:
    job = person.create("a bittern", step_count=6)
    whole = list(person.watch(job.job_id))
    assert_one_watchers_view(whole)
    for place, event in enumerate(whole):
        rest = list(person.watch(job.job_id, event.event_id))
        expected = whole[place + 1 :] or whole[-1:][:0]
        assert list(map(without_what_changes, rest)) == list(map(without_what_changes, expected))


def test_snapshot_of_a_job_leads_into_its_stream(person: Person) -> None:
    job = person.create("[[slow=0.1]] a stork", step_count=10)
    seen = person.reaches(job.job_id, job_pb2.JOB_STATE_RUNNING)
    events = list(person.watch(job.job_id, seen.event_id))
    assert_one_watchers_view(events)
    assert "queued" not in {event.WhichOneof("detail") for event in events}


def test_slow_watcher_gets_the_end(person: Person) -> None:
    job = person.create("[[slow=0.02]] a crane", step_count=100, width_px=256, height_px=256)
    stream = iter(person.watch(job.job_id))
    slow = [next(stream)]
    for _ in range(3):
        time.sleep(1.0)
        slow.append(next(stream))
    slow += list(stream)
    assert_one_watchers_view(slow)
    assert slow[-1].WhichOneof("detail") == "completed"


def test_many_watchers_of_one_job_see_the_same(person: Person) -> None:
    job = person.create("[[slow=0.05]] a flock", step_count=10)
    streams = [person.watch(job.job_id) for _ in range(20)]
    views = [list(stream) for stream in streams]
    for view in views:
        assert_one_watchers_view(view)
        assert ids(view) == ids(views[0])


def test_stream_of_all_jobs_cut_after_every_event_misses_no_change_of_state(calm: Stage) -> None:
    person = calm.person()
    before = person.watch_all()
    jobs = [person.create(f"[[slow=0.1]] duckling {number}", step_count=5) for number in range(4)]
    ended: set[str] = set()
    events: list[JobEvent] = []
    while len(ended) < len(jobs):
        stream = person.watch_all(events[-1].event_id if events else "")
        events += stream.read(1)
        stream.cut()
        if events[-1].WhichOneof("detail") in TERMINAL_DETAILS:
            ended.add(events[-1].job_id)
    uncut: list[JobEvent] = []
    for event in before:
        uncut.append(event)
        if sum(e.WhichOneof("detail") in TERMINAL_DETAILS for e in uncut) == len(jobs):
            break
    before.cut()
    for view in (events, uncut):
        assert ids(view) == sorted(set(ids(view)))
        for job in jobs:
            changes = [e.WhichOneof("detail") for e in view if e.job_id == job.job_id and not e.HasField("progress")]
            assert changes == ["queued", "started", "completed"]


def test_stream_of_all_jobs_begins_with_open_jobs_and_leaves_the_past_out(calm: Stage) -> None:
    person = calm.person()
    for number in range(3):
        person.end_of(person.create(f"gosling {number}").job_id)
    stream = person.watch_all()
    job = person.create("[[slow=0.05]] a goose")
    events: list[JobEvent] = []
    for event in stream:
        events.append(event)
        if event.WhichOneof("detail") in TERMINAL_DETAILS:
            break
    stream.cut()
    assert {event.job_id for event in events} == {job.job_id}
    assert_one_watchers_view(events)


def test_stream_of_all_jobs_shows_the_present_state_of_each_open_job(calm: Stage) -> None:
    person = calm.person()
    running = person.create("[[slow=0.2]] a swan", step_count=30)
    person.reaches(running.job_id, job_pb2.JOB_STATE_RUNNING)
    waiting = person.create("a cygnet")
    stream = person.watch_all()
    first = stream.read(3)
    stream.cut()
    changes = [(e.job_id, e.WhichOneof("detail")) for e in first if not e.HasField("progress")]
    assert changes == [(running.job_id, "queued"), (running.job_id, "started"), (waiting.job_id, "queued")]
    person.cancel(running.job_id)


@pytest.mark.parametrize("after", ["yesterday", "-1", "1-", "99999999999999999999", "1-2-3"])
def test_event_id_of_no_stream_is_refused(person: Person, after: str) -> None:
    job = person.create("an egret")
    refusal = refusal_of(lambda: list(person.watch(job.job_id, after)))
    assert refusal.reason == Reason.EVENT_ID_INVALID
    assert refusal_of(lambda: list(person.watch_all(after))).reason == Reason.EVENT_ID_INVALID


def test_job_of_another_account_is_not_shown(calm: Stage, person: Person) -> None:
    job = person.create("an ibis")
    stranger = calm.person()
    assert refusal_of(lambda: list(stranger.watch(job.job_id))).reason == Reason.JOB_NOT_FOUND


def test_invariants_hold_after_all_that_was_watched(calm: Stage) -> None:
    assert_invariants(calm)
