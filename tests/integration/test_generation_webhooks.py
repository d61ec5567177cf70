"""Outgoing webhooks: what happens to jobs reaches a customer's receiver, signed, once each, whatever fails in between."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from pingvas.generation.v1 import (
    account_event_service_pb2,
    job_event_pb2,
    webhook_endpoint_service_pb2,
    webhook_pb2,
)
from pingvas.generation.v1.account_event_service_pb2_grpc import AccountEventServiceStub
from pingvas.generation.v1.webhook_endpoint_service_pb2_grpc import WebhookEndpointServiceStub
from standardwebhooks import WebhookVerificationError

from svc_common.clock import new_id, now
from svc_common.errors import Reason
from svc_common.events import EventPublisher
from svc_generation.domain.webhooks import MOST_ENDPOINTS
from tests.factories.actors import Person, WorkerClient
from tests.factories.platform import Platform, running_platform
from tests.fakes.webhook_receiver import Receiver
from tests.harness_postgres import DatabaseFactory, until
from tests.harness_redis import RedisServer
from tests.harness_s3 import S3Server
from tests.harness_service import Identities, refusal_of

STARTED, PROGRESS = webhook_pb2.WEBHOOK_EVENT_JOB_STARTED, webhook_pb2.WEBHOOK_EVENT_JOB_PROGRESS
COMPLETED, FAILED = webhook_pb2.WEBHOOK_EVENT_JOB_COMPLETED, webhook_pb2.WEBHOOK_EVENT_JOB_FAILED
CANCELLED = webhook_pb2.WEBHOOK_EVENT_JOB_CANCELLED
PENDING, DELIVERED, GIVEN_UP = (
    webhook_pb2.DELIVERY_STATE_PENDING,
    webhook_pb2.DELIVERY_STATE_DELIVERED,
    webhook_pb2.DELIVERY_STATE_FAILED,
)
WAIT_SECONDS = 60


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


class Customer:
    """A person with webhooks."""

    def __init__(self, person: Person) -> None:
        self.person = person
        self._stub = WebhookEndpointServiceStub(person.replica.service.public)

    def register(self, url: str, *events: Any, **fields: Any) -> Any:
        request = webhook_endpoint_service_pb2.CreateWebhookEndpointRequest(
            url=url, events=events or (STARTED, COMPLETED, FAILED, CANCELLED), **fields
        )
        return self._stub.CreateWebhookEndpoint(request, metadata=self.person.metadata)

    def call(self, method: str, **fields: Any) -> Any:
        request = getattr(webhook_endpoint_service_pb2, f"{method}Request")(**fields)
        return getattr(self._stub, method)(request, metadata=self.person.metadata)

    async def deliveries(self, endpoint_id: str) -> list[webhook_pb2.WebhookDelivery]:
        return list((await self.call("ListWebhookDeliveries", endpoint_id=endpoint_id)).deliveries)

    async def ends(self, endpoint_id: str, count: int) -> list[webhook_pb2.WebhookDelivery]:
        """Waits until so many deliveries are ended and none is pending; returns them, the oldest first."""

        async def has_ended() -> bool:
            found = await self.deliveries(endpoint_id)
            return len(found) >= count and all(each.state != PENDING for each in found)

        await until(has_ended, within_seconds=WAIT_SECONDS)
        return (await self.deliveries(endpoint_id))[::-1]


@pytest.fixture
async def customer(platform: Platform) -> Customer:
    return Customer(await Person.arrive(platform, tier="studio"))


async def make_due(platform: Platform) -> None:
    """Lets the next attempts be due, for which nobody wants to wait."""
    await platform.rows(
        "generation", "UPDATE generation.webhook_deliveries SET next_attempt_time = now() WHERE state = 1"
    )


async def test_a_job_is_told_from_start_to_end_with_good_signatures(
    platform: Platform, customer: Customer, worker: WorkerClient, receiver: Receiver
) -> None:
    endpoint = await customer.register(receiver.url)
    job = await customer.person.create("a heron")
    attempt = await worker.start(job.job_id)
    await worker.complete(attempt, await worker.upload(attempt))

    started, completed = await customer.ends(endpoint.endpoint_id, 2)

    assert receiver.types() == ["job.started", "job.completed"]
    assert (started.event, completed.event) == (STARTED, COMPLETED)
    assert {each.webhook_id for each in receiver.received} == {started.delivery_id, completed.delivery_id}
    for received in receiver.received:
        document = received.verify(endpoint.secret)
        assert document["data"]["job_id"] == job.job_id
    (last,) = (each.document for each in receiver.received if each.webhook_id == completed.delivery_id)
    assert last["data"]["completed"]["images"][0]["url"].startswith("http")
    assert last["data"]["event_id"] == completed.event_id
    assert completed.last_http_status == 200
    with pytest.raises(WebhookVerificationError):
        receiver.received[0].verify("whsec_" + "A" * 44)


async def test_failed_and_cancelled_jobs_are_told_and_unwanted_events_are_not(
    customer: Customer, worker: WorkerClient, receiver: Receiver
) -> None:
    endpoint = await customer.register(receiver.url, FAILED, CANCELLED)
    failed, cancelled = [(await customer.person.create()).job_id for _ in range(2)]
    await worker.fail(await worker.start(failed), Reason.INVALID_OUTPUT)
    await customer.person.cancel(cancelled)
    await customer.ends(endpoint.endpoint_id, 2)
    assert receiver.types() == ["job.failed", "job.cancelled"]
    (told,) = (each.document["data"] for each in receiver.received if each.document["type"] == "job.failed")
    assert told["failed"]["reason"] == "ERROR_REASON_INVALID_OUTPUT"


async def test_endpoint_of_named_jobs_hears_of_those_that_name_it(customer: Customer, receiver: Receiver) -> None:
    endpoint = await customer.register(receiver.url, CANCELLED, named_jobs_only=True)
    plain = await customer.person.create("a heron")
    named = await customer.person.create("a heron", webhook_endpoint_id=endpoint.endpoint_id)
    for job in (plain, named):
        await customer.person.cancel(job.job_id)
    (delivery,) = await customer.ends(endpoint.endpoint_id, 1)
    assert delivery.job_id == named.job_id


async def test_job_that_names_an_endpoint_of_nobody_is_refused_and_costs_nothing(
    platform: Platform, customer: Customer, receiver: Receiver
) -> None:
    foreign = await Customer(await Person.arrive(platform)).register(receiver.url)
    before = await customer.person.balance()
    for endpoint_id in (str(new_id()), foreign.endpoint_id):
        refusal = await refusal_of(customer.person.create("a heron", webhook_endpoint_id=endpoint_id))
        assert refusal.reason is Reason.WEBHOOK_NOT_FOUND
    assert await customer.person.balance() == before


async def test_failed_delivery_is_repeated_under_its_id_until_it_is_accepted(
    platform: Platform, customer: Customer, receiver: Receiver
) -> None:
    receiver.answers.extend([(500, {}), (302, {"location": receiver.url})])
    endpoint = await customer.register(receiver.url, CANCELLED)
    await customer.person.cancel((await customer.person.create()).job_id)
    for attempt in (1, 2):
        await until(lambda attempt=attempt: _attempted(customer, endpoint, attempt), within_seconds=WAIT_SECONDS)  # type: ignore[misc]
        (pending,) = await customer.deliveries(endpoint.endpoint_id)
        assert pending.state == PENDING
        assert pending.next_attempt_time.ToDatetime() > pending.last_attempt_time.ToDatetime()
        await make_due(platform)
    (delivery,) = await customer.ends(endpoint.endpoint_id, 1)
    assert (delivery.state, delivery.attempt_count, delivery.last_error) == (DELIVERED, 3, "")
    assert [each.webhook_id for each in receiver.received] == [delivery.delivery_id] * 3
    assert len({each.body for each in receiver.received}) == 1
    for each in receiver.received:
        each.verify(endpoint.secret)


async def _attempted(customer: Customer, endpoint: webhook_pb2.WebhookEndpoint, count: int) -> bool:
    found = await customer.deliveries(endpoint.endpoint_id)
    return (
        bool(found)
        and found[0].attempt_count >= count
        and found[0].HasField("last_attempt_time")
        and bool(found[0].last_error)
    )


async def test_delivery_whose_deliverer_died_is_made_by_another(
    platform: Platform, customer: Customer, receiver: Receiver
) -> None:
    endpoint = await customer.register("http://127.0.0.1:1/", CANCELLED)
    await platform.rows(
        "generation",
        "INSERT INTO generation.webhook_deliveries (delivery_id, endpoint_id, account_id, event, attempt_count, round_count, "
        "create_time, next_attempt_time) VALUES ($1, $2, $3, 6, 1, 1, now(), now() + interval '1 hour')",
        new_id(),
        UUID(endpoint.endpoint_id),
        customer.person.account_id,
    )
    await customer.call(
        "UpdateWebhookEndpoint", endpoint_id=endpoint.endpoint_id, url=receiver.url, update_mask={"paths": ["url"]}
    )
    await make_due(platform)  # its lease is over
    (delivery,) = await customer.ends(endpoint.endpoint_id, 1)
    assert (delivery.state, delivery.attempt_count) == (DELIVERED, 2)


async def test_deliverers_of_several_processes_send_each_once(
    platform: Platform, customer: Customer, receiver: Receiver
) -> None:
    endpoint = await customer.register(receiver.url)
    async with (
        platform.replica(webhooks_to_private_addresses=True),
        platform.replica(webhooks_to_private_addresses=True),
    ):
        await asyncio.gather(
            *(customer.call("TestWebhookEndpoint", endpoint_id=endpoint.endpoint_id) for _ in range(40))
        )
        await customer.ends(endpoint.endpoint_id, 40)
    assert len(receiver.received) == 40
    assert set(Counter(each.webhook_id for each in receiver.received).values()) == {1}


async def test_progress_is_sampled_without_previews_and_never_repeated(
    customer: Customer, worker: WorkerClient, receiver: Receiver, publisher: EventPublisher
) -> None:
    receiver.answers.append((500, {}))
    endpoint = await customer.register(receiver.url, PROGRESS)
    job = await customer.person.create()
    attempt = await worker.start(job.job_id)
    sequence = int((await customer.person.get(job.job_id)).event_id)
    for step in (1, 2, 3):
        event = job_event_pb2.JobEvent(
            event_id=f"{sequence}-{step}",
            job_id=job.job_id,
            progress=job_event_pb2.JobProgress(step=step, step_count=3, preview_jpeg=b"jpeg"),
        )
        await publisher.publish_progress(customer.person.account_id, UUID(job.job_id), event.SerializeToString())
        await until(lambda step=step: _told(receiver, step), within_seconds=WAIT_SECONDS)  # type: ignore[misc]
    deliveries = await customer.ends(endpoint.endpoint_id, 3)
    assert [each.state for each in deliveries] == [GIVEN_UP, DELIVERED, DELIVERED]
    assert [each.document["data"]["progress"]["step"] for each in receiver.received] == [1, 2, 3]
    assert {each.document["data"]["progress"]["preview_jpeg"] for each in receiver.received} == {""}
    await worker.complete(attempt, await worker.upload(attempt))


async def _told(receiver: Receiver, count: int) -> bool:
    return len(receiver.received) >= count


async def test_rotated_secret_signs_at_once_and_the_old_one_for_a_day(
    platform: Platform, customer: Customer, receiver: Receiver
) -> None:
    endpoint = await customer.register(receiver.url)
    rotated = await customer.call("RotateWebhookSecret", endpoint_id=endpoint.endpoint_id)
    assert rotated.secret.startswith("whsec_")
    assert rotated.secret != endpoint.secret
    await customer.call("TestWebhookEndpoint", endpoint_id=endpoint.endpoint_id)
    await customer.ends(endpoint.endpoint_id, 1)
    for secret in (endpoint.secret, rotated.secret):
        receiver.received[0].verify(secret)
    await platform.rows(
        "generation",
        "UPDATE generation.webhook_endpoints SET old_secret_expire_time = now() WHERE endpoint_id = $1",
        UUID(endpoint.endpoint_id),
    )
    await customer.call("TestWebhookEndpoint", endpoint_id=endpoint.endpoint_id)
    await customer.ends(endpoint.endpoint_id, 2)
    receiver.received[1].verify(rotated.secret)
    with pytest.raises(WebhookVerificationError):
        receiver.received[1].verify(endpoint.secret)


async def test_endpoint_that_has_failed_for_days_is_disabled_with_the_reason_and_can_be_enabled(
    platform: Platform, customer: Customer, receiver: Receiver
) -> None:
    receiver.answers.extend([(503, {}), (503, {})])
    endpoint = await customer.register(receiver.url, CANCELLED)
    await platform.rows(
        "generation",
        "UPDATE generation.webhook_endpoints SET failing_since = $2 WHERE endpoint_id = $1",
        UUID(endpoint.endpoint_id),
        now() - timedelta(days=4),
    )
    await customer.person.cancel((await customer.person.create()).job_id)
    (delivery,) = await customer.ends(endpoint.endpoint_id, 1)
    assert delivery.state == GIVEN_UP
    (listed,) = (await customer.call("ListWebhookEndpoints")).endpoints
    assert listed.disabled
    assert "for 3 days" in listed.disable_reason

    await customer.person.cancel((await customer.person.create()).job_id)
    assert len(await customer.deliveries(endpoint.endpoint_id)) == 1
    enabled = await customer.call(
        "UpdateWebhookEndpoint", endpoint_id=endpoint.endpoint_id, update_mask={"paths": ["disabled"]}
    )
    assert (enabled.disabled, enabled.disable_reason, enabled.HasField("failing_since")) == (False, "", False)


async def test_endpoint_that_is_gone_gets_nothing_more(customer: Customer, receiver: Receiver) -> None:
    receiver.answers.append((410, {}))
    endpoint = await customer.register(receiver.url, CANCELLED)
    await customer.person.cancel((await customer.person.create()).job_id)
    (delivery,) = await customer.ends(endpoint.endpoint_id, 1)
    assert delivery.state == GIVEN_UP
    (listed,) = (await customer.call("ListWebhookEndpoints")).endpoints
    assert (listed.disabled, listed.disable_reason) == (True, "It answered 410 Gone.")


async def test_delivery_is_replayed_under_its_id(customer: Customer, receiver: Receiver) -> None:
    receiver.answers.append((500, {}))
    endpoint = await customer.register(receiver.url)
    sent = await customer.call("TestWebhookEndpoint", endpoint_id=endpoint.endpoint_id)
    (failed,) = await customer.ends(endpoint.endpoint_id, 1)
    assert (failed.state, failed.last_error) == (GIVEN_UP, "The endpoint answered 500.")
    assert (await customer.call("ReplayWebhookDelivery", delivery_id=sent.delivery_id)).state == PENDING
    (done,) = await customer.ends(endpoint.endpoint_id, 1)
    assert (done.state, done.attempt_count) == (DELIVERED, 2)
    assert [each.webhook_id for each in receiver.received] == [sent.delivery_id] * 2


async def test_secret_is_shown_once_and_a_repeated_request_makes_one_endpoint(customer: Customer) -> None:
    url = "https://hooks.example.com/pingvas"
    first, second = await asyncio.gather(*(customer.register(url, request_id="one") for _ in range(2)))
    assert first.endpoint_id == second.endpoint_id
    assert sorted([bool(first.secret), bool(second.secret)]) == [False, True]
    (listed,) = (await customer.call("ListWebhookEndpoints")).endpoints
    assert (listed.url, listed.secret) == (url, "")
    refusal = await refusal_of(customer.register(url, COMPLETED, request_id="one"))
    assert refusal.reason is Reason.IDEMPOTENCY_KEY_REUSED


async def test_endpoints_are_paged_limited_and_deleted(customer: Customer) -> None:
    made = [(await customer.register(f"https://hooks.example.com/{n}")).endpoint_id for n in range(MOST_ENDPOINTS)]
    refusal = await refusal_of(customer.register("https://hooks.example.com/more"))
    assert refusal.reason is Reason.TOO_MANY_WEBHOOKS
    listed, token = [], ""
    while True:
        page = await customer.call("ListWebhookEndpoints", page_size=7, page_token=token)
        listed += [each.endpoint_id for each in page.endpoints]
        token = page.next_page_token
        if not token:
            break
    assert listed == made[::-1]
    for _ in range(2):
        await customer.call("DeleteWebhookEndpoint", endpoint_id=made[0])
    assert len((await customer.call("ListWebhookEndpoints")).endpoints) == MOST_ENDPOINTS - 1


@pytest.mark.parametrize(
    ("method", "fields"),
    [
        ("UpdateWebhookEndpoint", {"disabled": True, "update_mask": {"paths": ["disabled"]}}),
        ("RotateWebhookSecret", {}),
        ("TestWebhookEndpoint", {}),
        ("ListWebhookDeliveries", {}),
    ],
)
async def test_stranger_finds_no_endpoint(
    method: str, fields: dict[str, Any], platform: Platform, customer: Customer, receiver: Receiver
) -> None:
    endpoint = await customer.register(receiver.url)
    stranger = Customer(await Person.arrive(platform))
    refusal = await refusal_of(stranger.call(method, endpoint_id=endpoint.endpoint_id, **fields))
    assert refusal.reason is Reason.WEBHOOK_NOT_FOUND
    await stranger.call("DeleteWebhookEndpoint", endpoint_id=endpoint.endpoint_id)
    assert len((await customer.call("ListWebhookEndpoints")).endpoints) == 1


async def test_private_address_is_refused_where_strangers_register(platform: Platform, customer: Customer) -> None:
    async with platform.replica(webhooks_to_private_addresses=False) as replica:
        elsewhere = Customer(customer.person.at(replica))
        for url in ("http://hooks.example.com/", "https://127.0.0.1/", "https://[::ffff:10.0.0.1]/"):
            refusal = await refusal_of(elsewhere.register(url))
            assert refusal.reason is Reason.WEBHOOK_ADDRESS_REFUSED


async def test_low_balance_is_told_once_to_each_endpoint_that_wants_it(
    customer: Customer, identities: Identities, receiver: Receiver
) -> None:
    low = webhook_pb2.WEBHOOK_EVENT_CREDITS_LOW
    endpoint = await customer.register(receiver.url, low, named_jobs_only=True)
    await customer.register(receiver.url, COMPLETED)
    event = webhook_pb2.LowBalance(balance="4.500", threshold="5.000")
    event.create_time.FromJsonString("2026-11-29T12:00:00Z")
    request = account_event_service_pb2.PublishAccountEventRequest(
        request_id=str(new_id()), account_id=str(customer.person.account_id), low_balance=event
    )
    stub = AccountEventServiceStub(customer.person.replica.service.internal)
    counts = [
        (await stub.PublishAccountEvent(request, metadata=identities.as_service("svc_payment"))).delivery_count
        for _ in range(2)
    ]
    assert counts == [1, 0]

    (delivery,) = await customer.ends(endpoint.endpoint_id, 1)

    assert (delivery.event, delivery.job_id, delivery.event_id) == (low, "", "")
    (received,) = receiver.received
    body = received.verify(endpoint.secret)
    assert body["type"] == "credits.low"
    assert body["data"] == {"balance": "4.500", "threshold": "5.000", "create_time": "2026-11-29T12:00:00Z"}
