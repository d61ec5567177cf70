"""Tells the edge how often a network may make calls without a token: Envoy's rate limit service, on buckets in Redis.

Calls with a token are counted by the services, whose limits know the account and its tier (docs/adr/0057). What a request is
refused with, and what happens when nobody can be asked, is the edge's configuration.
"""

from typing import Any, Final

import grpc
import grpc.aio
from envoyproxy import rls_pb2
from envoyproxy.rls_pb2_grpc import RateLimitServiceServicer

from svc_common.client_address import ClientAddresses, network_of
from svc_common.limits.buckets import Rate, SharedBuckets

ADDRESS_ENTRY: Final = "remote_address"
"""Envoy's name for the address of a client."""

_OK: Final = rls_pb2.RateLimitResponse.OK
_OVER_LIMIT: Final = rls_pb2.RateLimitResponse.OVER_LIMIT


class EdgeLimitServicer(RateLimitServiceServicer):
    """Implements envoy.service.ratelimit.v3.RateLimitService."""

    def __init__(self, buckets: SharedBuckets, addresses: ClientAddresses, rate: Rate | None) -> None:
        """Takes where to count, what knows the edge by its secret, and the rate of one network; None: no limit."""
        self._buckets = buckets
        self._addresses = addresses
        self._rate = rate

    async def ShouldRateLimit(
        self, request: rls_pb2.RateLimitRequest, context: "grpc.aio.ServicerContext[Any, Any]"
    ) -> rls_pb2.RateLimitResponse:
        """Counts a request, and tells whether it is within its limits.

        Fails with UNAVAILABLE while Redis is away: whether the request then passes is for the edge to decide.
        """
        headers = {name: str(value) for name, value in context.invocation_metadata() or ()}
        if not self._addresses.is_from_edge(headers):
            # Whoever else reaches this port could use up the limits of others.
            await context.abort(grpc.StatusCode.PERMISSION_DENIED, "only the edge may ask")
        within = [await self._is_within(request.domain, each, context) for each in request.descriptors]
        return rls_pb2.RateLimitResponse(
            overall_code=_OK if all(within) else _OVER_LIMIT,
            statuses=[rls_pb2.RateLimitResponse.DescriptorStatus(code=_OK if each else _OVER_LIMIT) for each in within],
        )

    async def _is_within(
        self, domain: str, descriptor: rls_pb2.RateLimitDescriptor, context: "grpc.aio.ServicerContext[Any, Any]"
    ) -> bool:
        entries = {entry.key: entry.value for entry in descriptor.entries}
        if self._rate is None or ADDRESS_ENTRY not in entries:
            return True
        key = f"{domain}:{network_of(entries[ADDRESS_ENTRY])}"
        grant = await self._buckets.take_shared(key, self._rate)
        if grant is None:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "the counts can't be reached")
        return grant.tokens > 0
