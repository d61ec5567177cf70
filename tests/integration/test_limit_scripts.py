"""The scripts of limits in a real Redis against their counterparts in the process, on random sequences with one clock.

Times are multiples of an eighth of a second and rates whole numbers, so that both sides reckon without rounding.
"""

import random
from datetime import timedelta
from importlib.resources import files

import pytest
from redis.asyncio import Redis
from redis.commands.core import AsyncScript

from svc_common.limits.attempts import Attempt, Budget, LocalAttempts, Origin, SharedAttempts
from svc_common.limits.buckets import LocalBuckets, Rate, SharedBuckets
from svc_common.limits.leases import LEASE_LIFETIME, LocalLeases, SharedLeases
from svc_common.limits.redis_guard import RedisGuard
from tests.harness_redis import RedisServer

_EIGHTH = 0.125
_STEPS = 150

# Stands where the scripts' clock does: the time is the test's, and keys expire by it.
_CLOCK = """
local real, clock_key, expiries = redis, 'test:clock', 'test:expiries'
local function now_ms() return tonumber(real.call('GET', clock_key)) end
local due = real.call('ZRANGEBYSCORE', expiries, '-inf', now_ms())
for _, key in ipairs(due) do real.call('DEL', key); real.call('ZREM', expiries, key) end
local redis = {call = function(command, ...)
  if command ~= 'PEXPIRE' then return real.call(command, ...) end
  local key, lifetime = ...
  return real.call('ZADD', expiries, now_ms() + lifetime, key)
end}
"""


class Clock:
    """The moment for both sides, moved on by hand."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds

    async def advance(self, seconds: float) -> None:
        self.seconds += seconds
        await self._redis.set("test:clock", int(self.seconds * 1000))


class GuardWithClock(RedisGuard):
    """Runs the scripts as they are, with the test's clock in front."""

    def script(self, name: str) -> AsyncScript:
        body = (files("svc_common.limits") / "lua" / f"{name}.lua").read_text(encoding="utf-8")
        return self.redis.register_script(_CLOCK + body)


@pytest.fixture
async def clock(redis: Redis) -> Clock:
    clock = Clock(redis)
    await clock.advance(0)
    return clock


@pytest.mark.parametrize("seed", range(8))
async def test_buckets_agree(redis: Redis, clock: Clock, seed: int) -> None:
    chance = random.Random(seed)
    rate = Rate(chance.choice([1, 2, 5, 16]), chance.choice([1, 7, 40]))
    shared, local = SharedBuckets(GuardWithClock(redis)), LocalBuckets(monotonic_seconds=clock)

    for _ in range(_STEPS):
        await clock.advance(_EIGHTH * chance.choice([0, 0, 1, 3, 20]))
        key, wanted = chance.choice("ab"), chance.choice([1, 1, 2, 10])
        in_redis = await shared.take(key, rate, wanted)
        here = local.take(key, rate, wanted)
        assert in_redis.tokens == here.tokens
        assert in_redis.wait - here.wait < timedelta(milliseconds=1)
        assert in_redis.wait >= here.wait - timedelta(microseconds=1)


@pytest.mark.parametrize("seed", range(8))
async def test_leases_agree(redis: Redis, clock: Clock, seed: int) -> None:
    chance = random.Random(seed)
    rate = Rate(chance.choice([1, 2, 5, 16]), chance.choice([1, 7, 40]))
    shared, local = SharedLeases(GuardWithClock(redis)), LocalLeases(monotonic_seconds=clock)
    leased = 0

    for _ in range(_STEPS):
        await clock.advance(_EIGHTH * chance.choice([0, 0, 1, 3, 20, 30]))
        # Now and then a holder that gives back more than it has, or what it has after the lease has lapsed.
        returned, wanted = chance.choice([0, 0, leased, chance.randint(0, 9)]), chance.choice([0, 1, 2, 10])
        in_redis = await shared.lease("a", rate, returned=returned, wanted=wanted)
        here = local.lease("a", rate, returned=returned, wanted=wanted)
        assert in_redis.tokens == here.tokens
        assert in_redis.wait - here.wait < timedelta(milliseconds=1)
        assert in_redis.wait >= here.wait - timedelta(microseconds=1)
        leased = here.tokens


@pytest.mark.parametrize("seed", range(8))
async def test_attempts_agree(redis: Redis, clock: Clock, seed: int) -> None:
    chance = random.Random(seed)
    shared = SharedAttempts(GuardWithClock(redis), local=LocalAttempts(monotonic_seconds=lambda: 0.0))
    local = LocalAttempts(monotonic_seconds=clock)
    begun: list[tuple[Attempt, Attempt]] = []

    for _ in range(_STEPS):
        await clock.advance(_EIGHTH * chance.choice([0, 0, 1, 8, 40, 400]))
        if begun and chance.random() < 0.4:
            in_redis, here = begun.pop(chance.randrange(len(begun)))
            await shared.void(in_redis)
            local.refund(here.charged)
            continue
        origin = _origin(chance.choice("abc"))
        if chance.random() < 0.05:
            await shared.know(origin.marker, timedelta(days=90))
            local.remember(origin.marker, timedelta(days=90))
        in_redis, here = await shared.begin(origin), local.begin(origin)
        assert (in_redis.wait, in_redis.charged) == (here.wait, here.charged)
        if not here.wait:
            begun.append((in_redis, here))


def _origin(name: str) -> Origin:
    def budget(key: str, free: int, seconds: float) -> Budget:
        delays = [timedelta(0)] * free + [timedelta(seconds=seconds), timedelta(seconds=2 * seconds)]
        return Budget(key, delays, timedelta(seconds=60 * seconds))

    shared = [budget(f"strange:{name}", 2, 0.5), budget("everybody", 5, 0.25)]
    return Origin(f"marker:{name}", budget(f"own:{name}", 3, 0.25), shared)


@pytest.mark.parametrize("seed", range(12))
async def test_holders_together_never_use_more_than_the_burst_and_what_came_in(
    redis: Redis, clock: Clock, seed: int
) -> None:
    chance = random.Random(seed)
    rate = Rate(chance.choice([1, 4, 16]), chance.choice([3, 25, 60]))
    holders = [SharedLeases(GuardWithClock(redis)) for _ in range(4)]
    left = [0] * len(holders)
    lapses = [0.0] * len(holders)
    uses: list[float] = []

    for _ in range(400):
        await clock.advance(_EIGHTH * chance.choice([0, 0, 0, 1, 1, 8, 40]))
        at = chance.randrange(len(holders))
        if lapses[at] <= clock.seconds:
            left[at] = 0
        if left[at] and chance.random() < 0.7:
            used = chance.randint(1, left[at])
            uses += [clock.seconds] * used
            left[at] -= used
        elif chance.random() < 0.1:
            left[at] = 0  # died: nothing of its lease is used, and nothing given back
        else:
            grant = await holders[at].lease("a", rate, returned=left[at], wanted=chance.choice([0, 1, 3, 10]))
            left[at], lapses[at] = grant.tokens, clock.seconds + LEASE_LIFETIME.total_seconds()

    assert len(uses) > rate.burst
    for first, start in enumerate(uses):
        if first and uses[first - 1] == start:
            continue
        for last in range(first, len(uses)):
            assert last - first + 1 <= rate.burst + rate.per_second * (uses[last] - start)


async def test_tokens_that_are_given_back_are_not_lost(redis: Redis, clock: Clock) -> None:
    rate = Rate(1, 25)
    first, second = SharedLeases(GuardWithClock(redis)), SharedLeases(GuardWithClock(redis))

    assert (await first.lease("a", rate, returned=0, wanted=10)).tokens == 10
    await first.lease("a", rate, returned=9, wanted=0)

    assert (await second.lease("a", rate, returned=0, wanted=100)).tokens == 24


async def test_lease_of_a_holder_that_died_makes_room_when_it_lapses(redis: Redis, clock: Clock) -> None:
    rate = Rate(16, 32)
    dead, alive = SharedLeases(GuardWithClock(redis)), SharedLeases(GuardWithClock(redis))
    assert (await dead.lease("a", rate, returned=0, wanted=16)).tokens == 16

    await clock.advance(2)
    assert (await alive.lease("a", rate, returned=0, wanted=100)).tokens == 16
    await clock.advance(2)
    await alive.lease("a", rate, returned=16, wanted=0)
    await clock.advance(2)

    assert (await alive.lease("a", rate, returned=0, wanted=100)).tokens == 32


async def test_what_passed_while_redis_was_not_heard_counts_beside_what_redis_let_pass(redis: Redis) -> None:
    moment = 0.0
    guard = RedisGuard(redis, monotonic_seconds=lambda: moment)
    shared = SharedAttempts(guard, local=LocalAttempts(monotonic_seconds=lambda: moment))
    minute, hour = timedelta(minutes=1), timedelta(hours=1)
    budget = Budget("account", [*[timedelta(0)] * 5, minute], hour)
    origin = Origin("marker", own=Budget("own", [minute], hour), shared=[budget])

    async def too_late() -> None:
        raise TimeoutError

    assert await guard.ask(too_late) is None
    assert not any([(await shared.begin(origin)).wait for _ in range(4)])
    moment = 5.0
    assert not any([(await shared.begin(origin)).wait for _ in range(2)])

    assert (await shared.begin(origin)).wait == minute
    assert not (await shared.begin(Origin("other", own=origin.own, shared=[Budget("b", [minute], hour)]))).wait


async def test_failures_are_known_when_redis_goes_away(own_redis: RedisServer) -> None:
    own_redis.start()
    guard = RedisGuard.connected_to(own_redis.url)
    shared = SharedAttempts(guard, local=LocalAttempts(monotonic_seconds=lambda: 0.0))
    minute, hour = timedelta(minutes=1), timedelta(hours=1)
    budget = Budget("account", [*[timedelta(0)] * 5, minute], hour)
    origin = Origin("marker", own=Budget("own", [minute], hour), shared=[budget])
    assert not any([(await shared.begin(origin)).wait for _ in range(6)])
    assert (await shared.begin(origin)).wait > timedelta(0)

    own_redis.kill()

    assert (await shared.begin(origin)).wait == minute
    await guard.close()
