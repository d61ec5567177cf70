"""What the operator sees of the queue, the workers and anybody's jobs, and a worker that is drained."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import pytest
from pingvas.common.v1.tier_pb2 import Tier
from pingvas.generation.v1 import job_event_pb2, job_pb2
from pingvas.generation.v1 import operator_service_pb2 as operator
from pingvas.generation.v1.generation_admin_service_pb2_grpc import GenerationAdminServiceStub
from pingvas.generation.v1.operator_service_pb2_grpc import OperatorServiceStub

from gpu_worker.claim.presence import Presence
from svc_common.account_roles import AccountRole
from svc_common.clock import new_id
from svc_common.errors import Reason
from svc_common.events import EventPublisher
from svc_common.queue import WorkerPresence, WorkerReport
from svc_common.redis_client import connect
from tests.factories.actors import Person, WorkerClient
from tests.factories.platform import Platform
from tests.harness_postgres import until
from tests.harness_service import refusal_of


class OperatorClient:
    """Calls the operator's service with the operator's credential."""

    def __init__(self, platform: Platform) -> None:
        self._stub = OperatorServiceStub(platform.generation.service.internal)
        self._metadata = platform.identities.as_service("operator")

    def __getattr__(self, method: str) -> Any:
        call = getattr(self._stub, method)
        return lambda request: call(request, metadata=self._metadata)


@pytest.fixture
def console(platform: Platform) -> OperatorClient:
    return OperatorClient(platform)


@pytest.fixture
async def presence(platform: Platform) -> AsyncIterator[WorkerPresence]:
    async with connect(platform.redis_url) as redis:
        yield WorkerPresence(redis)


@pytest.fixture
async def person(platform: Platform) -> Person:
    return await Person.arrive(platform, credits_held=100_000_000, tier="pro")


async def test_the_queue_is_shown_by_tier_highest_first(
    console: OperatorClient, person: Person, presence: WorkerPresence
) -> None:
    jobs = [await person.create() for _ in range(2)]
    await presence.report(WorkerReport("worker-0", 1))
    found = await console.GetQueue(operator.GetQueueRequest())
    assert [tier.tier for tier in found.tiers] == sorted((tier.tier for tier in found.tiers), reverse=True)
    pro = next(tier for tier in found.tiers if tier.tier == Tier.TIER_PRO)
    assert (pro.waiting_count, pro.running_count, found.worker_count) == (2, 0, 1)
    quoted = [
        float((await console.GetJobRecord(operator.GetJobRecordRequest(job_id=job.job_id))).credits_quoted)
        for job in jobs
    ]
    assert pro.waiting_gpu_seconds == pytest.approx(sum(quoted))
    assert pro.oldest_create_time == jobs[0].create_time
    await presence.withdraw("worker-0")
    for job in jobs:
        await person.cancel(job.job_id)


async def test_a_job_of_anybody_is_shown_with_its_attempts(
    console: OperatorClient, person: Person, worker: WorkerClient
) -> None:
    job = await person.create()
    attempt = await worker.start(job.job_id, "worker-0:1")
    await worker.give_back(attempt)
    second = await worker.start(job.job_id, "worker-0:2")
    await worker.fail(second, Reason.OUT_OF_MEMORY)
    await person.ended(job.job_id, within_seconds=120)
    record = await console.GetJobRecord(operator.GetJobRecordRequest(job_id=job.job_id))
    assert (record.account_id, record.state) == (str(person.account_id), job_pb2.JOB_STATE_FAILED)
    assert (record.operation, record.model_id, record.failure_reason) == (
        "text_to_image",
        "pingvas-tiny",
        "OUT_OF_MEMORY",
    )
    assert (record.tier, record.credits_used) == (Tier.TIER_PRO, "0.000")
    assert [(one.attempt, one.worker_id, one.outcome) for one in record.attempts] == [
        (1, "worker-0", "returned"),
        (2, "worker-0", "failed"),
    ]
    assert record.HasField("end_time")


async def test_an_administrator_sees_the_progress_of_a_running_job_without_its_picture(
    platform: Platform, console: OperatorClient, person: Person, worker: WorkerClient
) -> None:
    job = await person.create()
    attempt = await worker.start(job.job_id)
    progress = job_event_pb2.JobProgress(step=3, step_count=4, percent=75, preview_jpeg=b"a picture")
    event = job_event_pb2.JobEvent(event_id="2-3", job_id=job.job_id, progress=progress)
    async with connect(platform.redis_url) as redis:
        await EventPublisher(redis).publish_progress(person.account_id, UUID(job.job_id), event.SerializeToString())
    asked = operator.GetJobRecordRequest(job_id=job.job_id)
    metadata = platform.identities.as_user(new_id(), role=AccountRole.ADMINISTRATOR)
    shown = await GenerationAdminServiceStub(platform.generation.service.public).GetJobRecord(asked, metadata=metadata)
    assert (shown.progress.percent, shown.progress.preview_jpeg) == (75, b"")
    await worker.fail(attempt, Reason.OUT_OF_MEMORY)
    await person.ended(job.job_id, within_seconds=120)
    assert not (await console.GetJobRecord(asked)).HasField("progress")


async def test_a_job_that_is_not_there_is_refused(console: OperatorClient) -> None:
    refusal = await refusal_of(console.GetJobRecord(operator.GetJobRecordRequest(job_id=str(new_id()))))
    assert refusal.reason is Reason.JOB_NOT_FOUND


async def test_workers_are_listed_by_id_in_pages(console: OperatorClient, presence: WorkerPresence) -> None:
    for number in (2, 0, 1):
        report = WorkerReport(f"worker-{number}", 1_700_000_000_000, ("flux",), ("job-1",), "job-1", 3, 10)
        await presence.report(report)
    first = await console.ListWorkers(operator.ListWorkersRequest(page_size=2))
    rest = await console.ListWorkers(operator.ListWorkersRequest(page_size=2, page_token=first.next_page_token))
    assert [worker.worker_id for page in (first, rest) for worker in page.workers] == [
        "worker-0",
        "worker-1",
        "worker-2",
    ]
    assert rest.next_page_token == ""
    known = first.workers[0]
    assert (list(known.loaded_model_ids), list(known.job_ids)) == (["flux"], ["job-1"])
    assert (known.memory_used_bytes, known.memory_bytes, known.start_time.seconds) == (3, 10, 1_700_000_000)
    for number in range(3):
        await presence.withdraw(f"worker-{number}")
    refusal = await refusal_of(console.ListWorkers(operator.ListWorkersRequest(page_token="forged")))
    assert refusal.reason is Reason.PAGE_TOKEN_INVALID


async def test_a_drained_worker_ends_and_the_next_of_its_name_does_not(
    console: OperatorClient, presence: WorkerPresence
) -> None:
    for _ in range(2):
        stopping = asyncio.Event()
        reporting = Presence(
            presence,
            worker_id="worker-5",
            loaded_models=frozenset,
            job_ids=tuple,
            device_memory=lambda: (0, 0),
            stop=stopping.set,
        )
        running = asyncio.create_task(reporting.run(stopping))

        async def is_known() -> bool:
            return [worker.worker_id for worker in await presence.workers()] == ["worker-5"]

        await until(is_known, within_seconds=60)
        assert not stopping.is_set()
        await console.DrainWorker(operator.DrainWorkerRequest(worker_id="worker-5"))
        # Asking again does nothing more.
        await console.DrainWorker(operator.DrainWorkerRequest(worker_id="worker-5"))
        await asyncio.wait_for(running, 60)
        assert stopping.is_set()
        assert await presence.workers() == ()


async def test_a_worker_that_was_not_heard_of_cannot_be_drained(console: OperatorClient) -> None:
    refusal = await refusal_of(console.DrainWorker(operator.DrainWorkerRequest(worker_id="worker-99")))
    assert (refusal.reason, refusal.metadata) == (Reason.WORKER_NOT_FOUND, {"worker_id": "worker-99"})


async def test_only_the_operator_may_ask(platform: Platform) -> None:
    stub = OperatorServiceStub(platform.generation.service.internal)
    for caller in ("gpu_worker", "svc_gallery"):
        refusal = await refusal_of(
            stub.GetQueue(operator.GetQueueRequest(), metadata=platform.identities.as_service(caller))
        )
        assert refusal.reason is Reason.CALLER_NOT_ALLOWED
