"""What other services say about models and accounts, remembered for seconds.

A model's facts change when an operator installs a revision, an account's tier when somebody pays. Both are read on every
CreateJob, so they are kept: models for five seconds, entitlements as long or until svc_payment announces a change.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from types import MappingProxyType
from typing import Final, Generic, TypeVar
from uuid import UUID

from pingvas.models.v1 import catalogue_service_pb2, catalogue_service_pb2_grpc, model_pb2
from pingvas.payment.v1 import entitlement_pb2
from pingvas.vocabulary import Operation as OperationKind
from pingvas.vocabulary import Tier

from svc_common.entitlements import Entitlements
from svc_common.own_models import own_lora_id
from svc_common.tiers import Reach
from svc_generation.domain.limits import ModelFacts, TierFacts
from svc_generation.domain.pricing import ModelCost

K = TypeVar("K")
V = TypeVar("V")

_MAX_ENTRIES = 10_000
_LIFETIME_SECONDS: Final = 5.0
_OPERATIONS: Final[Mapping[int, OperationKind]] = MappingProxyType(
    {model_pb2.Operation.Value(f"OPERATION_{kind.name}"): kind for kind in OperationKind}
)


class RecentValues(Generic[K, V]):
    """Remembers what a coroutine returned for each key; concurrent misses of one key share one call."""

    def __init__(self, fetch: Callable[[K], Awaitable[V]], lifetime_seconds: float) -> None:
        """Takes what to call on a miss."""
        self._fetch = fetch
        self._lifetime = lifetime_seconds
        self._entries: dict[K, tuple[float, asyncio.Future[V]]] = {}

    async def get(self, key: K) -> V:
        """Returns the value, from memory while it is fresh. A failure is raised to all who wait and not remembered."""
        entry = self._entries.get(key)
        if entry is not None and entry[0] > time.monotonic():
            return entry[1].result() if entry[1].done() else await asyncio.shield(entry[1])
        if len(self._entries) >= _MAX_ENTRIES:
            self._entries.clear()
        task = asyncio.ensure_future(self._fetch(key))
        self._entries[key] = (time.monotonic() + self._lifetime, task)
        task.add_done_callback(lambda done: self._drop_failure(key, done))
        return await asyncio.shield(task)

    def forget(self, key: K | None = None) -> None:
        """Forgets one key, or all of them."""
        if key is None:
            self._entries.clear()
        else:
            self._entries.pop(key, None)

    def _drop_failure(self, key: K, done: "asyncio.Future[V]") -> None:
        entry = self._entries.get(key)
        if entry is not None and entry[1] is done and (done.cancelled() or done.exception() is not None):
            del self._entries[key]


def model_facts(model: model_pb2.Model) -> ModelFacts:
    """Converts what the checks need to know of a model."""
    return ModelFacts(
        model_id=model.model_id,
        family=model.family,
        minimum_tier=Tier(model.minimum_tier),
        native_width_px=model.native_width_px,
        native_height_px=model.native_height_px,
        default_step_count=model.default_step_count,
        default_guidance_scale=model.default_guidance_scale,
        schedulers=tuple(model.schedulers),
        operations=_operations(model),
        is_lora=model.kind == model_pb2.MODEL_KIND_LORA,
        is_own=model.is_own,
    )


def _operations(model: model_pb2.Model) -> frozenset[OperationKind]:
    if model.kind == model_pb2.MODEL_KIND_UNSPECIFIED:
        # Told by a svc_models from before there were kinds: all models did this one thing.
        return frozenset({OperationKind.TEXT_TO_IMAGE})
    return frozenset(_OPERATIONS[each] for each in model.operations if each in _OPERATIONS)


def model_cost(spec: model_pb2.ModelSpec) -> ModelCost:
    """Converts a model's cost."""
    cost = spec.cost
    return ModelCost(
        cost.per_megapixel_step_millicredits, cost.fixed_millicredits, cost.upscale_per_megapixel_millicredits
    )


class Lookups:
    """Answers what svc_models and svc_payment know."""

    def __init__(
        self,
        catalogue: "catalogue_service_pb2_grpc.CatalogueServiceAsyncStub",
        entitlements: Entitlements,
    ) -> None:
        """Takes the internal stub of svc_models, and what accounts are entitled to."""
        self._catalogue = catalogue
        self._entitlements = entitlements
        self._models = RecentValues(self._fetch_model, _LIFETIME_SECONDS)

    async def model(self, model_id: str, account_id: UUID | None = None) -> model_pb2.ModelSpec:
        """Returns a model, the default one for ""; LoRAs of its own only to the account that asks.

        Raises:
            ServiceError: MODEL_NOT_FOUND.
        """
        # What the catalogue says is the same for everybody, and is remembered once.
        owner = None if own_lora_id(model_id) is None else account_id
        return await self._models.get((model_id, owner))

    async def tier(self, account_id: UUID) -> TierFacts:
        """Returns the tier of an account with its limits."""
        return _tier_facts(await self._entitlements.of(account_id, at_most_seconds=_LIFETIME_SECONDS))

    async def _fetch_model(self, key: tuple[str, UUID | None]) -> model_pb2.ModelSpec:
        model_id, owner = key
        request = catalogue_service_pb2.ResolveModelRequest(model_id=model_id, account_id=str(owner) if owner else "")
        return await self._catalogue.ResolveModel(request)


def _tier_facts(entitlement: entitlement_pb2.Entitlement) -> TierFacts:
    limits = entitlement.limits
    return TierFacts(
        reach=Reach(Tier(entitlement.tier), frozenset(limits.model_families)),
        largest_side_px=limits.largest_side_px,
        images_per_job=limits.images_per_job,
        step_count=limits.step_count,
        waiting_jobs=limits.waiting_jobs,
        running_jobs=limits.running_jobs,
        is_suspended=entitlement.standing == entitlement_pb2.STANDING_SUSPENDED,
        own_loras=limits.own_loras,
    )
