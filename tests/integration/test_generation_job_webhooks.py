"""Addresses that jobs bring along: told of that job alone, signed by the account's secret, refused before anything is held."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any
from uuid import UUID

import pytest
from pingvas.generation.v1 import job_erasure_service_pb2, job_event_pb2, webhook_endpoint_service_pb2, webhook_pb2
from pingvas.generation.v1.job_erasure_service_pb2_grpc import JobErasureServiceStub
from pingvas.generation.v1.webhook_endpoint_service_pb2_grpc import WebhookEndpointServiceStub
from standardwebhooks import WebhookVerificationError

from svc_common.clock import new_id, now
from svc_common.errors import Reason
from svc_common.events import EventPublisher
from svc_generation.domain.webhooks import MOST_ENDPOINTS
from svc_generation.tasks.webhook_sweeps import WebhookSweeps
from tests.factories.actors import Person, WorkerClient
from tests.factories.platform import Platform, running_platform
from tests.fakes.webhook_receiver import Receiver
from tests.harness_postgres import DatabaseFactory, until
from tests.harness_redis import RedisServer
from tests.harness_s3 import S3Server
from tests.harness_service import Identities, refusal_of

STARTED, CANCELLED = webhook_pb2.WEBHOOK_EVENT_JOB_STARTED, webhook_pb2.WEBHOOK_EVENT_JOB_CANCELLED
COMPLETED = webhook_pb2.WEBHOOK_EVENT_JOB_COMPLETED
PENDING, DELIVERED = webhook_pb2.DELIVERY_STATE_PENDING, webhook_pb2.DELIVERY_STATE_DELIVERED
WAIT_SECONDS = 60
PUBLIC = "https://hooks.example.com/pingvas"


@pytest.fixture(scope="module")
async def platform(
    database_for: DatabaseFactory,
    identities: Identities,
    own_redis: RedisServer,
    s3_server: S3Server,
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[Platform]:
    """As everywhere, but for webhooks that may go to this machine."""
    own_redis.start()
    folder = tmp_path_factory.mktemp("models")
    settings = {"webhooks_to_private_addresses": True}
    try:
        async with running_platform(database_for, identities, own_redis, s3_server, folder, **settings) as running:
            yield running
    finally:
        own_redis.stop()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    yield made
    made.close()


@pytest.fixture
async def person(platform: Platform) -> Person:
    return await Person.arrive(platform, tier="studio")


async def call(person: Person, method: str, **fields: Any) -> Any:
    request = getattr(webhook_endpoint_service_pb2, f"{method}Request")(**fields)
    stub = WebhookEndpointServiceStub(person.replica.service.public)
    return await getattr(stub, method)(request, metadata=person.metadata)


async def secret_of(person: Person) -> str:
    secret: str = (await call(person, "GetAccountWebhookSecret")).secret
    return secret


async def delivered(person: Person, job_id: str, count: int) -> list[webhook_pb2.WebhookDelivery]:
    """Waits until so many deliveries to a job's address are ended; returns them, the oldest first."""

    async def have_ended() -> bool:
        found = (await call(person, "ListWebhookDeliveries", endpoint_id=job_id)).deliveries
        return len(found) >= count and all(each.state != PENDING for each in found)

    await until(have_ended, within_seconds=WAIT_SECONDS)
    return list((await call(person, "ListWebhookDeliveries", endpoint_id=job_id)).deliveries)[::-1]


async def endpoint_count(platform: Platform, person: Person) -> int:
    ((count,),) = await platform.rows(
        "generation", "SELECT count(*) FROM generation.webhook_endpoints WHERE account_id = $1", person.account_id
    )
    return int(count)


async def test_address_of_a_job_hears_of_its_end_alone_signed_with_the_account_s_secret(
    person: Person, worker: WorkerClient, receiver: Receiver
) -> None:
    silent = await person.create("a heron")
    job = await person.create("a heron", webhook_url=receiver.url)
    attempt = await worker.start(job.job_id)
    await worker.complete(attempt, await worker.upload(attempt))
    await person.cancel(silent.job_id)

    (delivery,) = await delivered(person, job.job_id, 1)

    assert (delivery.event, delivery.state, delivery.job_id) == (COMPLETED, DELIVERED, job.job_id)
    (received,) = receiver.received
    document = received.verify(await secret_of(person))
    assert (document["type"], document["data"]["job_id"]) == ("job.completed", job.job_id)
    assert document["data"]["completed"]["images"][0]["url"].startswith("http")
    assert received.webhook_id == delivery.delivery_id


async def test_named_events_are_sent_to_it_besides_a_registered_endpoint_s(person: Person, receiver: Receiver) -> None:
    registered = await call(person, "CreateWebhookEndpoint", url=receiver.url + "/registered", events=[CANCELLED])
    job = await person.create("a heron", webhook_url=receiver.url + "/own", webhook_events=[STARTED, CANCELLED])
    await person.cancel(job.job_id)
    await delivered(person, job.job_id, 1)
    await until(lambda: _came(receiver, 2), within_seconds=WAIT_SECONDS)
    secrets = {"/hooks/own": await secret_of(person), "/hooks/registered": registered.secret}
    assert {each.path for each in receiver.received} == set(secrets)
    for each in receiver.received:
        assert each.verify(secrets[each.path])["type"] == "job.cancelled"


async def _came(receiver: Receiver, count: int) -> bool:
    return len(receiver.received) >= count


async def test_progress_reaches_it_when_it_is_named(
    person: Person, worker: WorkerClient, receiver: Receiver, publisher: EventPublisher
) -> None:
    job = await person.create(webhook_url=receiver.url, webhook_events=[webhook_pb2.WEBHOOK_EVENT_JOB_PROGRESS])
    attempt = await worker.start(job.job_id)
    sequence = int((await person.get(job.job_id)).event_id)
    event = job_event_pb2.JobEvent(
        event_id=f"{sequence}-1", job_id=job.job_id, progress=job_event_pb2.JobProgress(step=1, step_count=3)
    )
    await publisher.publish_progress(person.account_id, UUID(job.job_id), event.SerializeToString())
    await delivered(person, job.job_id, 1)
    assert [each.document["data"]["progress"]["step"] for each in receiver.received] == [1]
    await worker.complete(attempt, await worker.upload(attempt))


async def test_no_list_and_no_limit_of_endpoints_knows_it_and_nobody_changes_it(
    person: Person, platform: Platform, receiver: Receiver
) -> None:
    job = await person.create(webhook_url=PUBLIC)
    for number in range(MOST_ENDPOINTS):
        await call(person, "CreateWebhookEndpoint", url=f"{PUBLIC}/{number}", events=[CANCELLED])
    listed = (await call(person, "ListWebhookEndpoints", page_size=200)).endpoints
    assert len(listed) == MOST_ENDPOINTS
    assert job.job_id not in {each.endpoint_id for each in listed}
    changes: dict[str, dict[str, Any]] = {
        "UpdateWebhookEndpoint": {"url": receiver.url, "update_mask": {"paths": ["url"]}},
        "RotateWebhookSecret": {},
        "TestWebhookEndpoint": {},
    }
    for method, fields in changes.items():
        refusal = await refusal_of(call(person, method, endpoint_id=job.job_id, **fields))
        assert refusal.reason is Reason.WEBHOOK_NOT_FOUND
    refusal = await refusal_of(person.create(webhook_endpoint_id=job.job_id))
    assert refusal.reason is Reason.WEBHOOK_NOT_FOUND
    stranger = await Person.arrive(platform)
    refusal = await refusal_of(call(stranger, "ListWebhookDeliveries", endpoint_id=job.job_id))
    assert refusal.reason is Reason.WEBHOOK_NOT_FOUND
    # Neither the answer nor what is asked for later says where the events go.
    assert PUBLIC.encode() not in (await person.get(job.job_id)).SerializeToString() + job.SerializeToString()


async def test_deleting_it_by_the_job_s_id_ends_what_is_sent(person: Person, receiver: Receiver) -> None:
    told, untold = [await person.create(webhook_url=receiver.url) for _ in range(2)]
    await call(person, "DeleteWebhookEndpoint", endpoint_id=untold.job_id)
    for job in (untold, told):
        await person.cancel(job.job_id)
    await delivered(person, told.job_id, 1)
    assert [each.document["data"]["job_id"] for each in receiver.received] == [told.job_id]


async def test_refused_address_costs_nothing_and_leaves_nothing(platform: Platform, person: Person) -> None:
    before = await person.balance()
    async with platform.replica(webhooks_to_private_addresses=False) as replica:
        elsewhere = person.at(replica)
        for url in (
            *(
                "http://hooks.example.com/",
                "ftp://hooks.example.com/",
                "https://127.0.0.1/",
                "https://user@example.com/",
            ),
            *("https://[::ffff:10.0.0.1]/", "https://169.254.169.254/latest", "nonsense"),
        ):
            refusal = await refusal_of(elsewhere.create("a heron", webhook_url=url))
            assert (refusal.reason, refusal.metadata["field"]) == (Reason.WEBHOOK_ADDRESS_REFUSED, "webhook_url")
        for fields in (
            {"webhook_events": [CANCELLED]},
            {"webhook_url": PUBLIC, "webhook_events": [webhook_pb2.WEBHOOK_EVENT_CREDITS_LOW]},
            {"webhook_url": PUBLIC, "webhook_events": [CANCELLED, CANCELLED]},
            {"webhook_url": f"https://example.com/{'a' * 2000}"},
        ):
            refusal = await refusal_of(elsewhere.create("a heron", **fields))
            assert refusal.reason is Reason.INVALID_FIELD
    assert await person.balance() == before
    assert await endpoint_count(platform, person) == 0


async def test_address_and_events_are_of_what_a_request_id_stands_for(person: Person, platform: Platform) -> None:
    terms = {"webhook_url": PUBLIC, "webhook_events": [CANCELLED, COMPLETED]}
    made = await asyncio.gather(*(person.create("a heron", request_id="one", **terms) for _ in range(2)))
    reordered = {**terms, "webhook_events": [COMPLETED, CANCELLED]}
    again = await person.create("a heron", request_id="one", **reordered)
    assert {job.job_id for job in (*made, again)} == {made[0].job_id}
    others: tuple[dict[str, Any], ...] = (
        {},
        {"webhook_url": PUBLIC},
        {**terms, "webhook_url": PUBLIC + "/other"},
    )
    for fields in others:
        refusal = await refusal_of(person.create("a heron", request_id="one", **fields))
        assert refusal.reason is Reason.IDEMPOTENCY_KEY_REUSED


async def test_rotated_account_secret_signs_at_once_and_the_old_one_for_a_day(
    platform: Platform, person: Person, receiver: Receiver
) -> None:
    old = await secret_of(person)
    assert old == await secret_of(person)
    rotated = await call(person, "RotateAccountWebhookSecret")
    assert rotated.secret != old
    assert rotated.HasField("old_secret_expire_time")
    job = await person.create(webhook_url=receiver.url)
    await person.cancel(job.job_id)
    await delivered(person, job.job_id, 1)
    for secret in (old, rotated.secret):
        receiver.received[0].verify(secret)
    await platform.rows(
        "generation",
        "UPDATE generation.webhook_secrets SET old_secret_expire_time = now() WHERE account_id = $1",
        person.account_id,
    )
    assert not (await call(person, "GetAccountWebhookSecret")).HasField("old_secret_expire_time")
    job = await person.create(webhook_url=receiver.url)
    await person.cancel(job.job_id)
    await delivered(person, job.job_id, 1)
    receiver.received[1].verify(rotated.secret)
    with pytest.raises(WebhookVerificationError):
        receiver.received[1].verify(old)


async def test_many_jobs_with_addresses_of_nobody_leave_room_for_another_account(
    platform: Platform, person: Person, receiver: Receiver
) -> None:
    # A server that takes connections and never answers holds each request for ten seconds.
    silent = await asyncio.start_server(_never_answers, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{silent.sockets[0].getsockname()[1]}/"
    try:
        for _ in range(40):
            await person.cancel((await person.create(webhook_url=url)).job_id)
        other = await Person.arrive(platform)
        job = await other.create(webhook_url=receiver.url)
        await other.cancel(job.job_id)
        await delivered(other, job.job_id, 1)
        ((tried,),) = await platform.rows(
            "generation",
            "SELECT count(*) FROM generation.webhook_deliveries WHERE account_id = $1 AND attempt_count > 0",
            person.account_id,
        )
        assert tried < 40
    finally:
        silent.close()


async def _never_answers(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
    while await reader.read(1 << 16):
        pass


async def test_it_goes_after_a_week_but_not_while_its_job_waits_or_a_delivery_is_kept(
    platform: Platform, person: Person, receiver: Receiver
) -> None:
    waiting, ended = [await person.create(webhook_url=receiver.url) for _ in range(2)]
    await person.cancel(ended.job_id)
    await delivered(person, ended.job_id, 1)
    old = "UPDATE generation.{} SET create_time = now() - interval '8 days' WHERE account_id = $1"
    await platform.rows("generation", old.format("webhook_endpoints"), person.account_id)
    await _sweep(platform)
    assert await endpoint_count(platform, person) == 2
    await platform.rows("generation", old.format("webhook_deliveries"), person.account_id)
    # The first takes the delivery, and the next the address that then has none.
    await _sweep(platform)
    await _sweep(platform)
    assert await endpoint_count(platform, person) == 1
    await person.cancel(waiting.job_id)
    await delivered(person, waiting.job_id, 1)


async def test_it_is_erased_with_its_job_and_the_secret_with_the_account(
    platform: Platform, person: Person, identities: Identities
) -> None:
    await person.create(webhook_url=PUBLIC)
    stub = JobErasureServiceStub(person.replica.service.internal)
    request = job_erasure_service_pb2.EraseJobsRequest(account_id=str(person.account_id))

    async def is_erased() -> bool:
        return not (await stub.EraseJobs(request, metadata=identities.as_service("svc_user"))).has_more

    await until(is_erased, within_seconds=WAIT_SECONDS)
    assert await endpoint_count(platform, person) == 0
    for table in ("webhook_secrets", "webhook_deliveries"):
        statement = f"SELECT 1 FROM generation.{table} WHERE account_id = $1"  # noqa: S608 - a name of the line above
        assert await platform.rows("generation", statement, person.account_id) == []


async def _sweep(platform: Platform) -> None:
    parts = platform.generation.parts
    await WebhookSweeps(database=parts.tasks, history=parts.publisher.history, now=now, new_id=new_id).delete_old()
