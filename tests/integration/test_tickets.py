"""Documents that are kept for a short time and taken at most once, in a real Redis."""

import asyncio
from datetime import timedelta

import pytest
from redis.asyncio import Redis

from svc_common.tickets import Tickets

LIFETIME = timedelta(minutes=1)


async def test_document_is_taken_once(redis: Redis) -> None:
    tickets = Tickets(redis, "tests")
    await tickets.put("secret", {"user_id": "ключ", "port": 49152, "nothing": None}, LIFETIME)
    taken = await asyncio.gather(*(tickets.take("secret") for _ in range(20)))
    assert [each for each in taken if each is not None] == [{"user_id": "ключ", "port": 49152, "nothing": None}]


async def test_document_of_another_purpose_is_not_there(redis: Redis) -> None:
    await Tickets(redis, "sign-in").put("secret", {}, LIFETIME)
    assert await Tickets(redis, "sign-in-code").take("secret") is None
    assert await Tickets(redis, "sign-in").take("secret") == {}


async def test_document_goes_with_its_time_and_shows_no_secret(redis: Redis) -> None:
    tickets = Tickets(redis, "tests")
    await tickets.put("the-secret", {"kept": True}, LIFETIME)
    (key,) = await redis.keys("*")
    assert b"the-secret" not in key
    assert 0 < await redis.pttl(key) <= 60_000
    await redis.pexpire(key, 0)
    assert await tickets.take("the-secret") is None


@pytest.mark.parametrize("secret", ["", "*", "ticket:tests:*", "\0"])
async def test_secret_that_nobody_was_given_finds_nothing(redis: Redis, secret: str) -> None:
    tickets = Tickets(redis, "tests")
    await tickets.put("another", {}, LIFETIME)
    assert await tickets.take(secret) is None
