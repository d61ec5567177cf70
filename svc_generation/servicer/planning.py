"""From a wish to a plan: the defaults filled in, the limits checked, priced, and with the place in the queue.

What it decides by are the pure functions of the domain; here they get what other services and Redis know.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final
from uuid import UUID

import structlog
from pingvas.generation.v1 import job_pb2
from pingvas.models.v1 import model_pb2

from svc_common.group_commit import GroupCommit
from svc_common.queue import JobQueue
from svc_common.redis_client import REDIS_ERRORS
from svc_generation.domain.limits import TierFacts, check_model, check_scheduler, check_tier, with_defaults
from svc_generation.domain.pricing import quote_millicredits
from svc_generation.domain.waiting import WaitEstimate, WaitStatistics
from svc_generation.servicer.conversion import filled, picture, work
from svc_generation.servicer.lookups import Lookups, model_cost, model_facts, tier_name

_log = structlog.get_logger(__name__)

_BRANCH: Final = "text_to_image"
_BATCH_LIMIT: Final = 64
_LINGER_SECONDS: Final = 0.004


@dataclass(frozen=True, slots=True)
class Plan:
    """Holds a checked and priced request."""

    operation: job_pb2.TextToImage
    tier: TierFacts
    quote: int
    """Expected cost in millicredits."""
    position: int
    estimate: WaitEstimate


class Planner:
    """Makes plans; holds nothing and writes nothing."""

    def __init__(
        self, *, lookups: Lookups, queue: JobQueue, statistics: WaitStatistics, new_seed: Callable[[], int]
    ) -> None:
        """Takes the parts; `new_seed` draws a seed for requests that name none."""
        self._lookups = lookups
        self._queue = queue
        self._statistics = statistics
        self._new_seed = new_seed
        # Requests that come at the same time ask Redis in one round trip.
        self._positions = GroupCommit(self._queue_positions, limit=_BATCH_LIMIT, linger_seconds=_LINGER_SECONDS)

    async def plan(self, wish: job_pb2.TextToImage, account_id: UUID) -> Plan:
        """Plans a request of an account.

        Raises:
            ServiceError: MODEL_NOT_FOUND, MODEL_NOT_IN_TIER, INVALID_FIELD, TIER_LIMIT_EXCEEDED.
        """
        # One after the other: nearly always both are remembered, and then neither waits.
        tier = await self._lookups.tier(account_id)
        spec = await self._lookups.model(wish.model_id)
        operation = self._checked(wish, spec, tier)
        quote = quote_millicredits(model_cost(spec), work(operation))
        position, estimate = await self.wait(tier, account_id, quote / 1000)
        return Plan(operation, tier, quote, position, estimate)

    async def tier(self, account_id: UUID) -> TierFacts:
        """Returns the tier of an account."""
        return await self._lookups.tier(account_id)

    async def wait(self, tier: TierFacts, account_id: UUID, run_seconds: float) -> tuple[int, WaitEstimate]:
        """Returns position and estimated wait of a job that the account would submit now."""
        position = await self._positions.submit((tier.tier_name, account_id))
        return position, self._statistics.estimate(position, run_seconds)

    def _checked(self, wish: job_pb2.TextToImage, spec: model_pb2.ModelSpec, tier: TierFacts) -> job_pb2.TextToImage:
        model = model_facts(spec.model)
        check_model(model, tier, tier_name(model.minimum_tier))
        chosen = with_defaults(picture(wish), model)
        check_scheduler(chosen, model, _BRANCH)
        check_tier(chosen, tier, _BRANCH)
        seed = wish.seed if wish.HasField("seed") else self._new_seed()
        return filled(wish, chosen, model.model_id, seed)

    async def _queue_positions(self, lines: Sequence[tuple[str, UUID]]) -> Sequence[int]:
        """Returns expected positions, or 0 while Redis is away: an estimate isn't worth refusing a job for."""
        try:
            return await self._queue.positions_for_new(lines)
        except REDIS_ERRORS as error:
            _log.warning("queue.position_unknown", error=repr(error))
            return [0] * len(lines)
