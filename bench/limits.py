"""What counting a call costs: a slice within the process, against a question to a rate limit service at every call.

`python -m bench.limits REDIS_URL` prints a line of JSON with processor time for each call, in microseconds, of this process,
which has both ends of every connection but Redis itself. Processor time, so that whatever else the machine does falls out.
"""

import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Final
from uuid import UUID

import grpc.aio
from envoyproxy import rls_pb2
from envoyproxy.rls_pb2_grpc import RateLimitServiceStub, add_RateLimitServiceServicer_to_server

from svc_common.client_address import EDGE_SECRET_HEADER, ClientAddresses
from svc_common.clock import new_id
from svc_common.limits.buckets import Rate, SharedBuckets
from svc_common.limits.calls import CallRates
from svc_common.limits.leases import SharedLeases
from svc_common.limits.redis_guard import RedisGuard
from svc_user.servicer import EdgeLimitServicer

CALLS: Final = 3000
# Of the tier studio, and never used up here.
_RATE: Final = Rate(100, 1_000_000)
_SECRET: Final = "of the benchmark alone"  # noqa: S105 - opens nothing


async def of_slices(guard: RedisGuard) -> float:
    """Returns the cost of admitting a call of an account, as the services do."""

    async def rate_of(_: UUID) -> Rate:
        return _RATE

    rates, account_id = CallRates(SharedLeases(guard), rate_of), new_id()

    async def admit() -> None:
        waiting = rates.admit(account_id)
        if waiting is not None:
            await waiting

    return await _microseconds(admit)


async def of_questions(guard: RedisGuard) -> float:
    """Returns the cost of asking a rate limit service, as the edge does for calls without a token."""
    server = grpc.aio.server()
    servicer = EdgeLimitServicer(SharedBuckets(guard), ClientAddresses(_SECRET), _RATE)
    add_RateLimitServiceServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    entry = rls_pb2.RateLimitDescriptor.Entry(key="remote_address", value="203.0.113.5")
    descriptor = rls_pb2.RateLimitDescriptor(entries=[entry])
    request = rls_pb2.RateLimitRequest(domain="bench", descriptors=[descriptor])
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        ask = RateLimitServiceStub(channel).ShouldRateLimit

        async def question() -> None:
            await ask(request, metadata=((EDGE_SECRET_HEADER, _SECRET),))

        cost = await _microseconds(question)
    await server.stop(None)
    return cost


async def _microseconds(call: Callable[[], Awaitable[None]]) -> float:
    for _ in range(100):
        await call()
    began = time.process_time()
    for _ in range(CALLS):
        await call()
    return (time.process_time() - began) / CALLS * 1e6


async def measure(redis_url: str) -> dict[str, float]:
    """Returns both."""
    guard = RedisGuard.connected_to(redis_url)
    try:
        slices, questions = await of_slices(guard), await of_questions(guard)
    finally:
        await guard.close()
    return {"slice_us": round(slices, 1), "question_us": round(questions, 1)}


if __name__ == "__main__":
    sys.stdout.write(json.dumps(asyncio.run(measure(sys.argv[1]))) + "\n")
