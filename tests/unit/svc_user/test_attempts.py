"""The policy of failed log-ins, and the counts of a process of its own."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from svc_common.limits.attempts import Budget, LocalAttempts, Origin
from svc_user.domain.attempts import AttemptPolicy, Backoff, origin_keys

MINUTE = timedelta(minutes=1)
SECRET = b"a secret of the tests"


def test_delays_begin_after_the_free_failures_and_double_up_to_the_longest() -> None:
    delays = [delay.total_seconds() for delay in Backoff(3, MINUTE).delays]

    assert delays == [0, 0, 0, 1, 2, 4, 8, 16, 32, 60]


@given(st.integers(1, 100), st.integers(1, 3600))
def test_delays_never_shrink_and_end_at_the_longest(free: int, longest_seconds: int) -> None:
    longest = timedelta(seconds=longest_seconds)
    delays = list(Backoff(free, longest).delays)

    assert delays == sorted(delays)
    assert delays[-1] == longest
    assert delays.count(timedelta(0)) == free


def test_strangers_get_fewer_guesses_a_day_than_a_weak_password_needs() -> None:
    backoff = Backoff(50, MINUTE)
    policy = AttemptPolicy(backoff, backoff, backoff, backoff, memory=60 * MINUTE)

    # 50 free, 6 while it doubles, the first of the longest, then one a minute.
    assert policy.guesses_of_strangers(timedelta(days=1)) == 57 + 1440


@given(st.text(), st.text(), st.text(), st.text())
def test_origins_share_counts_only_where_their_parts_agree(
    email: str, other: str, network: str, elsewhere: str
) -> None:
    here, there = origin_keys(SECRET, email, network), origin_keys(SECRET, other, elsewhere)

    assert (here.account == there.account) == (email == other)
    assert (here.network == there.network) == (network == elsewhere)
    if "\0" not in email + network + other + elsewhere:
        assert (here.marker == there.marker) == ((email, network) == (other, elsewhere))


def test_names_of_counts_tell_neither_address() -> None:
    keys = origin_keys(SECRET, "owner@example.com", "192.0.2.7")

    assert not any(part in str(keys) for part in ("owner", "example", "192.0.2"))


class Clock:
    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def origin(name: str = "here", free: int = 2) -> Origin:
    delays = Backoff(free, MINUTE).delays
    own, strange = Budget(f"own:{name}", delays, 60 * MINUTE), Budget(f"strange:{name}", delays, 60 * MINUTE)
    return Origin(f"known:{name}", own, (strange, Budget("account", Backoff(5, MINUTE).delays, 60 * MINUTE)))


def test_refused_attempts_do_not_prolong_the_wait() -> None:
    clock = Clock()
    attempts = LocalAttempts(monotonic_seconds=clock)
    outcomes = [attempts.begin(origin()).wait for _ in range(200)]

    assert [wait.total_seconds() for wait in outcomes] == [0, 0, 0] + [1] * 197
    clock.seconds = 1.0
    assert not attempts.begin(origin()).wait


def test_known_origin_does_not_wait_for_strangers() -> None:
    attempts = LocalAttempts(monotonic_seconds=Clock())
    attempts.remember("known:home", timedelta(days=1))
    for number in range(1000):
        attempts.begin(origin(f"stranger-{number}"))

    assert attempts.begin(origin("another stranger")).wait
    assert not attempts.begin(origin("home")).wait


def test_strangers_together_get_no_more_than_the_account_allows() -> None:
    attempts = LocalAttempts(monotonic_seconds=Clock())
    admitted = [number for number in range(1000) if not attempts.begin(origin(f"stranger-{number}")).wait]

    assert len(admitted) == 6


@pytest.mark.parametrize("count", [1, 3])
def test_refund_takes_the_charge_back(count: int) -> None:
    attempts = LocalAttempts(monotonic_seconds=Clock())
    for _ in range(50):
        for attempt in [attempts.begin(origin(free=count + 1)) for _ in range(count)]:
            attempts.refund(attempt.charged)

    assert not attempts.begin(origin(free=count + 1)).wait
