"""The external scaler as KEDA calls it, by a real gRPC client: sleep, push, scale-out, and sleep again."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import grpc
import pytest
from keda import externalscaler_pb2 as keda
from keda.externalscaler_pb2_grpc import ExternalScalerStub

from gpu_worker.claim.presence import Presence
from svc_common.clock import now as real_now
from svc_common.queue import WorkerPresence, WorkerReport
from svc_common.queue.presence import SILENCE_MS
from svc_common.redis_client import connect
from svc_generation.servicer.scaler import ScalerListener
from svc_generation.usecases.worker_demand import WorkerDemand
from tests.factories.actors import Person, WorkerClient
from tests.factories.platform import Platform
from tests.harness_postgres import until
from tests.harness_redis import RedisServer

IDLE_SECONDS = 300.0
REFERENCE = keda.ScaledObjectRef(name="pingvas-gpu-worker", namespace="prod", scalerMetadata={"scalerAddress": "here"})


@dataclass
class Clock:
    """Runs as the test wants it."""

    seconds: float = 1000.0

    def monotonic(self) -> float:
        # Each look is a new one.
        self.seconds += 1.5
        return self.seconds

    def pass_by(self, seconds: float) -> None:
        self.seconds += seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def presence(platform: Platform) -> AsyncIterator[WorkerPresence]:
    async with connect(platform.redis_url) as redis:
        yield WorkerPresence(redis)


@pytest.fixture
async def scaler(platform: Platform, presence: WorkerPresence, clock: Clock) -> AsyncIterator[Any]:
    demand = WorkerDemand(
        database=platform.generation.parts.tasks,
        presence=presence,
        # Nothing that other tests submitted counts as an arrival.
        now=lambda: real_now() + timedelta(minutes=6),
        idle_seconds=IDLE_SECONDS,
        start_seconds=120.0,
        monotonic=clock.monotonic,
    )
    listener = ScalerListener(demand, "127.0.0.1:0")
    await listener.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{listener.port}") as channel:
            yield ExternalScalerStub(channel)
    finally:
        await listener.stop()


@pytest.fixture
async def person(platform: Platform) -> Person:
    return await Person.arrive(platform, credits_held=100_000_000, tier="starter")


async def workers(scaler: Any) -> int:
    answer = await scaler.GetMetrics(keda.GetMetricsRequest(scaledObjectRef=REFERENCE, metricName="workers"))
    (value,) = answer.metricValues
    assert value.metricName == "workers"
    assert value.metricValueFloat == value.metricValue
    return int(value.metricValue)


async def test_metric_is_a_number_of_workers(scaler: Any) -> None:
    (spec,) = (await scaler.GetMetricSpec(REFERENCE)).metricSpecs
    assert (spec.metricName, spec.targetSize, spec.targetSizeFloat) == ("workers", 1, 1.0)


async def test_a_day_of_the_scaler(scaler: Any, person: Person, worker: WorkerClient, clock: Clock) -> None:
    told: asyncio.Queue[bool] = asyncio.Queue()

    async def listen() -> None:
        async for answer in scaler.StreamIsActive(REFERENCE):
            told.put_nowait(answer.result)

    listening = asyncio.create_task(listen())
    # Asleep.
    assert not await told.get()
    assert not (await scaler.IsActive(REFERENCE)).result
    assert await workers(scaler) == 0

    # Pushed, without being asked.
    job = await person.create()
    assert await told.get()
    assert (await scaler.IsActive(REFERENCE)).result
    assert await workers(scaler) == 1

    # Out: more GPU seconds than one worker does in time.
    jobs = [await person.create(width_px=1024, height_px=1024, step_count=50) for _ in range(20)]
    assert await workers(scaler) > 1

    # Done: kept for the idle time, then asleep.
    for one in (job, *jobs):
        await person.cancel(one.job_id)
    clock.pass_by(IDLE_SECONDS / 2)
    assert await workers(scaler) == 1
    assert told.empty()
    clock.pass_by(IDLE_SECONDS)
    assert not await told.get()
    assert await workers(scaler) == 0
    listening.cancel()


async def test_workers_that_are_there_are_counted(scaler: Any, person: Person, presence: WorkerPresence) -> None:
    jobs = [await person.create(width_px=1024, height_px=1024, step_count=50) for _ in range(20)]
    try:
        alone = await workers(scaler)
        for number in range(alone):
            await presence.report(WorkerReport(f"worker-{number}", 1))
        # Present workers need no start, so that no more are needed than before.
        assert alone >= await workers(scaler) > 0
    finally:
        for job in jobs:
            await person.cancel(job.job_id)
        for number in range(20):
            await presence.withdraw(f"worker-{number}")


async def test_keda_hears_that_the_queue_cannot_be_measured(
    scaler: Any, own_redis: RedisServer, presence: WorkerPresence
) -> None:
    own_redis.kill()
    try:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await scaler.IsActive(REFERENCE, timeout=60)
        assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
    finally:
        own_redis.start()

    async def is_back() -> bool:
        try:
            await scaler.IsActive(REFERENCE, timeout=60)
        except grpc.aio.AioRpcError:
            return False
        return True

    await until(is_back, within_seconds=60)


async def test_the_service_serves_the_scaler_where_its_settings_say(platform: Platform) -> None:
    async with platform.replica(scaler_address="127.0.0.1:0") as replica:
        assert replica.parts.scaler is not None
        async with grpc.aio.insecure_channel(f"127.0.0.1:{replica.parts.scaler.port}") as channel:
            assert (await ExternalScalerStub(channel).GetMetricSpec(REFERENCE)).metricSpecs
    assert platform.generation.parts.scaler is None


async def test_the_scaler_is_no_way_to_the_services(platform: Platform, person: Person) -> None:
    async with platform.replica(scaler_address="127.0.0.1:0") as replica:
        assert replica.parts.scaler is not None
        async with grpc.aio.insecure_channel(f"127.0.0.1:{replica.parts.scaler.port}") as channel:
            method = channel.unary_unary("/pingvas.worker.v1.WorkerService/StartAttempt")
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await method(b"")
            assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_a_worker_is_known_until_it_withdraws(presence: WorkerPresence) -> None:
    report = WorkerReport("worker-7", 5, ("a", "b"), ("job-1",), "job-1", 3, 10)
    await presence.report(report)
    (known,) = await presence.workers()
    assert (known.worker_id, known.loaded_models, known.job_ids) == ("worker-7", ("a", "b"), ("job-1",))
    assert known.seen_time_ms > 0
    await presence.withdraw("worker-7")
    assert await presence.workers() == ()


async def test_a_worker_that_falls_silent_is_forgotten(presence: WorkerPresence, own_redis: RedisServer) -> None:
    await presence.report(WorkerReport("worker-8", 5))
    async with connect(own_redis.url) as redis:
        await redis.zadd("queue:workers", {"worker-8": 1})
        assert await presence.workers() == ()
        assert await redis.zcard("queue:workers") == 0
        assert 0 < await redis.pttl("queue:worker:worker-8") <= SILENCE_MS


async def test_a_worker_reports_itself_until_it_stops(presence: WorkerPresence) -> None:
    stopping = asyncio.Event()
    jobs = ["job-1", "job-2"]
    reporting = Presence(
        presence,
        worker_id="worker-9",
        loaded_models=lambda: frozenset({"sdxl", "flux"}),
        job_ids=lambda: jobs,
        device_memory=lambda: (3, 10),
        stop=stopping.set,
    )
    running = asyncio.create_task(reporting.run(stopping))

    async def is_known() -> bool:
        return bool(await presence.workers())

    await until(is_known, within_seconds=60)
    (known,) = await presence.workers()
    assert (known.loaded_models, known.last_job_id) == (("flux", "sdxl"), "job-2")
    assert (known.device_memory_used_bytes, known.device_memory_bytes) == (3, 10)
    stopping.set()
    await running
    assert await presence.workers() == ()
