"""Redis, PostgreSQL and the object store go away and come back: what was acknowledged is done, once."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
from pingvas.gallery.v1 import gallery_service_pb2
from pingvas.generation.v1 import generation_service_pb2, job_pb2

from svc_common.errors import Code, Reason, ServiceError
from svc_generation.domain.event_ids import EventId
from tests.e2e.invariants import assert_invariants
from tests.e2e.stage import (
    TERMINAL_DETAILS,
    Accident,
    Job,
    Moment,
    Person,
    Stage,
    answer_or_refusal,
    create_request,
    until,
)

WAITING = 20
DRAIN_SECONDS = 60.0


@pytest.fixture
def person(shaken: Stage) -> Person:
    """Somebody on a fleet whose workers are there."""
    for name in ("worker-0", "worker-1", "redis", "postgres", "s3"):
        shaken.fleet.wait_until_healthy(name)
    return shaken.person("studio")


def submit_many(person: Person) -> list[Job]:
    """Submits jobs until one runs on each worker and twenty more wait."""
    # The first two last until all are there; the rest are quick, since nothing but their number matters.
    jobs = [person.create("[[slow=0.15]] a starling", step_count=40) for _ in range(2)]
    jobs += [person.create("a starling", step_count=10) for _ in range(WAITING)]
    statement = "SELECT count(*) FROM generation.jobs WHERE account_id = $1 AND state = $2"
    running = int(job_pb2.JOB_STATE_RUNNING)
    until(lambda: person.stage.value(statement, person.account_id, running) == 2, "both workers to work")
    assert person.stage.value(statement, person.account_id, int(job_pb2.JOB_STATE_QUEUED)) == WAITING
    return jobs


def assert_all_complete(person: Person, jobs: list[Job]) -> list[Job]:
    ended = [person.end_of(job.job_id, within_seconds=DRAIN_SECONDS) for job in jobs]
    assert {job_pb2.JobState.Name(job.state) for job in ended} == {"JOB_STATE_COMPLETED"}
    assert_invariants(person.stage)
    return ended


@contextmanager
def watched(person: Person, job: Job) -> Iterator[list[str]]:
    """Watches a job beside the block, taking the stream up whenever it breaks; afterwards the ids and details are there."""
    seen: list[str] = []

    def watch() -> list[tuple[EventId, str]]:
        events: list[tuple[EventId, str]] = []
        while not (events and events[-1][1] in TERMINAL_DETAILS):
            after = str(events[-1][0]) if events else ""
            answer_or_refusal(lambda after=after: [events.append(_brief(e)) for e in person.watch(job.job_id, after)])
        return events

    with ThreadPoolExecutor(1) as pool:
        watching = pool.submit(watch)
        yield seen
        events = watching.result(timeout=DRAIN_SECONDS)
    ids = [event_id for event_id, _ in events]
    assert ids == sorted(set(ids)), "I7"
    seen += [detail for _, detail in events]


def _brief(event: job_pb2.Job) -> tuple[EventId, str]:
    return EventId.parse(event.event_id), event.WhichOneof("detail")


def test_flushed_redis_costs_no_job_an_attempt(shaken: Stage, person: Person) -> None:
    jobs = submit_many(person)
    with watched(person, jobs[-1]) as details:
        with shaken.redis() as redis:
            redis.flushall()
        ended = assert_all_complete(person, jobs)
    assert {job.attempt for job in ended} == {1}
    assert [detail for detail in details if detail != "progress"] == ["queued", "started", "completed"]


def test_killed_redis_loses_no_job(shaken: Stage, person: Person) -> None:
    jobs = submit_many(person)
    with watched(person, jobs[-1]) as details:
        shaken.fleet.kill("redis", keep_down=True)
        # Redis is a fast path only: what is asked for while it is away is accepted all the same.
        jobs += [person.create("a wren without a queue")]
        shaken.fleet.start_again("redis")
        assert_all_complete(person, jobs)
    assert [detail for detail in details if detail != "progress"][-1] == "completed"


def test_redis_that_forgot_everything_loses_no_job(shaken: Stage, person: Person) -> None:
    jobs = submit_many(person)
    shaken.fleet.kill("redis", keep_down=True)
    for file in shaken.fleet.layout.redis.rglob("*.aof"):
        file.unlink()
    for manifest in shaken.fleet.layout.redis.rglob("*.manifest"):
        manifest.unlink()
    shaken.fleet.start_again("redis")
    assert_all_complete(person, jobs)


def test_killed_postgresql_is_unavailable_meanwhile_and_keeps_every_acknowledged_job(
    shaken: Stage, person: Person
) -> None:
    jobs = submit_many(person)
    with watched(person, jobs[-1]) as details:
        shaken.fleet.kill("postgres", keep_down=True)
        refusals = [refusal for call in calls_of(person) if isinstance(refusal := call(), ServiceError)]
        shaken.fleet.start_again("postgres")
        until(lambda: isinstance(calls_of(person)[0](), Job), "jobs to be accepted again")
        assert_all_complete(person, jobs)
    assert len(refusals) == len(calls_of(person)), "answered without a database"
    assert {refusal.code for refusal in refusals} == {Code.UNAVAILABLE}
    assert {refusal.reason for refusal in refusals} == {Reason.DEPENDENCY_UNAVAILABLE}
    assert [detail for detail in details if detail != "progress"][-1] == "completed"


def calls_of(person: Person) -> list[Callable[[], object]]:
    """Returns calls to each service that keeps records, as functions that return a refusal rather than raise it."""
    images = gallery_service_pb2.ListImagesRequest()
    list_jobs = generation_service_pb2.ListJobsRequest()
    calls = (
        lambda: person.create("a robin"),
        lambda: person.generation.ListJobs(list_jobs, timeout=15, metadata=person.metadata),
        lambda: person.gallery.ListImages(images, timeout=15, metadata=person.metadata),
        person.balance,
    )
    return [lambda call=call: answer_or_refusal(call) for call in calls]


def test_submissions_while_postgresql_dies_are_there_once_when_acknowledged(shaken: Stage, person: Person) -> None:
    """I3 and I12: who was answered finds the job; who was not asks again with the same key and has it once."""
    requests = [create_request(f"a lark {number}", request_id=f"lark-{number}") for number in range(300)]
    calls = person.begin_creating(requests)
    until(lambda: sum(call.done() for call in calls) >= 10, "the first answers")
    shaken.fleet.kill("postgres")
    answers = [answer_or_refusal(call.result) for call in calls]
    shaken.fleet.wait_until_healthy("postgres")
    until(lambda: isinstance(calls_of(person)[1](), generation_service_pb2.ListJobsResponse), "jobs to be listed again")
    assert any(isinstance(answer, ServiceError) for answer in answers), "the accident came too late"
    again = person.create_at_once(requests)
    assert all(isinstance(answer, Job) for answer in again), again
    for first, second in zip(answers, again, strict=True):
        if isinstance(first, Job):
            assert first == second
        else:
            assert first.code is Code.UNAVAILABLE
    assert len({answer.job_id for answer in again if isinstance(answer, Job)}) == len(requests)
    mine = shaken.value("SELECT count(*) FROM generation.jobs WHERE account_id = $1", person.account_id)
    assert mine == len(requests)
    with ThreadPoolExecutor(16) as pool:
        # Drawing them all would only take long; some are drawn meanwhile, and can't be cancelled any more.
        cancelled = list(pool.map(lambda answer: answer_or_refusal(lambda: person.cancel(answer.job_id)), again))
    refusals = [answer for answer in cancelled if isinstance(answer, ServiceError)]
    assert [refusal for refusal in refusals if refusal.reason is not Reason.JOB_ALREADY_ENDED] == []
    assert_invariants(shaken)


def test_upload_waits_for_an_object_store_that_stands_still(shaken: Stage, person: Person) -> None:
    job = person.create("[[slow=0.1]] a pelican", step_count=10)
    person.reaches(job.job_id, job_pb2.JOB_STATE_RUNNING)
    shaken.freeze("s3")
    try:
        for event in person.watch(job.job_id):
            if event.progress.step == 10:
                break
        # Longer than the lease: the worker keeps its job while it waits.
        with pytest.raises(AssertionError, match="in vain"):
            person.end_of(job.job_id, within_seconds=4.0)
    finally:
        shaken.thaw("s3")
    (ended,) = assert_all_complete(person, [job])
    assert ended.attempt == 1


def test_upload_to_an_object_store_that_was_killed_completes(shaken: Stage, person: Person) -> None:
    job = person.create("[[slow=0.1]] a cormorant", step_count=10)
    person.reaches(job.job_id, job_pb2.JOB_STATE_RUNNING)
    shaken.fleet.kill("s3", keep_down=True)
    for event in person.watch(job.job_id):
        if event.progress.step == 10:
            break
    shaken.fleet.start_again("s3")
    assert_all_complete(person, [job])


def test_object_that_is_not_what_was_uploaded_is_noticed_and_uploaded_again(shaken: Stage, person: Person) -> None:
    shaken.faults.arm(Moment.UPLOADED, Accident.FREEZE)
    job = person.create("a shrike")
    shaken.strike(Moment.UPLOADED)
    for key, file in shaken.objects().items():
        if key.startswith(f"users/{person.account_id}/"):
            file.write_bytes(file.read_bytes()[:-1])
    shaken.thaw(shaken.worker_of(job.job_id))
    (ended,) = assert_all_complete(person, [job])
    assert ended.attempt == 1
