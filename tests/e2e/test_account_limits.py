"""A free account that takes all it can from the running fleet, through the edge, by the limits as they are in production."""

import asyncio
import time
from collections import Counter
from collections.abc import Iterator

import httpx
import pytest
from pingvas.gallery.v1 import gallery_service_pb2

from svc_common.errors import Reason, ServiceError
from tests.e2e.stage import FleetPlan, Person, Stage, answer_or_refusal, refusal_of, running_stage, until
from tests.harness_envoy import json_refusal

RATE, BURST = 5, 25
SECONDS = 4.0
# One of each service.
READS = ("users/me", "credits/balance", "queue/items", "images", "models")
MIB = 1024 * 1024


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """A fleet with the tiers' own figures."""
    plan = FleetPlan(workers=0, account_limit_factor=1)
    with running_stage(tmp_path_factory.mktemp("strict"), plan) as stage:
        yield stage


async def test_all_services_together_answer_at_the_rate_of_the_tier(strict: Stage) -> None:
    person, neighbour = strict.person("free"), strict.person("free")
    headers = dict(person.metadata)
    answers: list[httpx.Response] = []
    async with httpx.AsyncClient(base_url=f"{strict.fleet.http}/api/v1/", headers=headers) as client:
        began, longest = time.monotonic(), 0.0

        async def caller(path: str) -> None:
            nonlocal longest
            while time.monotonic() < began + SECONDS:
                answers.append(await client.get(path))
                longest = max(longest, answers[-1].elapsed.total_seconds())

        calls = asyncio.gather(*(caller(path) for path in READS for _ in range(2)))
        await asyncio.sleep(SECONDS / 2)
        assert await asyncio.to_thread(neighbour.balance)
        await calls
        seconds = time.monotonic() - began

    statuses = Counter(answer.status_code for answer in answers)
    assert statuses.keys() == {200, 429}
    # What came into the bucket during the last calls may be left there.
    assert BURST + RATE * (seconds - 1 - 2 * longest) <= statuses[200] <= BURST + RATE * seconds * 1.05
    refused = [answer for answer in answers if answer.status_code == 429]
    assert {json_refusal(answer)[1].reason for answer in refused} == {Reason.RATE_LIMITED}
    assert {answer.headers["retry-after"] for answer in refused} == {"1"}


def test_streams_beyond_the_tier_are_refused_until_one_is_closed(strict: Stage) -> None:
    person = strict.person("free")
    with strict.redis() as redis:
        key = f"streams:{person.account_id}"
        streams = [person.watch_all() for _ in range(BURST)]
        until(lambda: redis.zcard(key) == BURST, "the streams to be open")
        # The calls that opened them were the burst.
        time.sleep(3 / RATE)
        refusal = refusal_of(lambda: person.watch_all().read(1))
        answer = strict.http.get("/api/v1/jobs/events", headers=dict(person.metadata))

        assert refusal.reason is Reason.TOO_MANY_STREAMS
        assert (answer.status_code, answer.headers["retry-after"]) == (429, "5")
        for stream in streams:
            stream.cut()
        until(lambda: redis.zcard(key) == 0, "the places to be free")
        another = person.watch_all()
        until(lambda: redis.zcard(key) == 1, "another stream to be open")
        another.cut()


def test_open_uploads_fill_the_tier_s_storage_and_no_more(strict: Stage) -> None:
    person = strict.person("free")

    opened = 0
    while not isinstance(refusal := answer_or_refusal(lambda: _upload(person)), ServiceError):
        opened += 1
        if opened >= BURST:
            time.sleep(1 / RATE)

    assert refusal.reason is Reason.STORAGE_QUOTA_EXCEEDED
    assert opened == 1024 // 32
    assert refusal.metadata["quota_bytes"] == str(1024 * MIB)


def _upload(person: Person) -> gallery_service_pb2.Upload:
    request = gallery_service_pb2.CreateUploadRequest(content_type="image/png", size_bytes=32 * MIB)
    return person.gallery.CreateUpload(request, metadata=person.metadata, timeout=10)
