"""Addresses of Sentinels: what is read from them, and what is refused."""

import pytest

from svc_common.redis_sentinel import SentinelAddress, is_sentinel_url


def test_everything_is_read_from_an_address() -> None:
    url = "rediss+sentinel://me:p%40ss@one:26380,two,[::1]:5/queue/3?sentinel_username=asker&sentinel_password=word"
    assert SentinelAddress.parse(url) == SentinelAddress(
        hosts=(("one", 26380), ("two", 26379), ("::1", 5)),
        primary="queue",
        database=3,
        username="me",
        password="p@ss",
        sentinel_username="asker",
        sentinel_password="word",
        tls=True,
    )


def test_the_shortest_address() -> None:
    assert SentinelAddress.parse("redis+sentinel://one/queue") == SentinelAddress((("one", 26379),), "queue")


@pytest.mark.parametrize(
    "url",
    [
        "redis+sentinel://one:26379",
        "redis+sentinel:///queue",
        "redis+sentinel://one:port/queue",
        "redis+sentinel://one,/queue",
        "redis+sentinel://one/queue/first",
        "redis://one/queue",
    ],
)
def test_another_form_is_refused_with_the_right_one(url: str) -> None:
    with pytest.raises(ValueError, match=r"has the form redis\+sentinel://"):
        SentinelAddress.parse(url)


def test_a_refusal_does_not_repeat_the_password() -> None:
    with pytest.raises(ValueError, match="form") as refused:
        SentinelAddress.parse("redis+sentinel://:secret@one:26379")
    assert "secret" not in str(refused.value)


def test_other_addresses_are_of_one_server() -> None:
    assert is_sentinel_url("redis+sentinel://one/queue")
    assert not is_sentinel_url("rediss://one:6379/0")
