"""Serves ModelService: the models that the caller's tier reaches."""

from itertools import islice
from typing import Final

from pingvas.models.v1 import model_pb2, model_service_pb2, model_service_pb2_grpc
from pingvas.payment.v1 import entitlement_pb2

from svc_common.caller import current_account
from svc_common.entitlements import Entitlements
from svc_common.own_models import own_lora_id
from svc_common.paging import PageTokens, page_size
from svc_common.tiers import model_not_in_tier
from svc_models.messages.catalogue import reach_of
from svc_models.servicer.own_models import OwnModels
from svc_models.servicer.snapshot import CatalogueSnapshot, minimum_tier_of

_FILTER: Final = "models"
_OLDEST_SECONDS: Final = 2.0
"""Shorter than it takes to pay and come back, long enough for the calls that one page makes."""


class ModelServicer(model_service_pb2_grpc.ModelServiceServicer):
    """Implements pingvas.models.v1.ModelService."""

    def __init__(
        self,
        snapshot: CatalogueSnapshot,
        own_models: OwnModels,
        entitlements: Entitlements,
        page_tokens: PageTokens,
    ) -> None:
        """Takes the catalogue, accounts' own LoRAs, what callers are entitled to, and the maker of page tokens."""
        self._snapshot = snapshot
        self._own_models = own_models
        self._entitlements = entitlements
        self._page_tokens = page_tokens

    async def ListModels(
        self, request: model_service_pb2.ListModelsRequest, _context: object
    ) -> model_service_pb2.ListModelsResponse:
        """Returns a page of the models that the caller reaches."""
        after = self._page_tokens.decode(request.page_token, _FILTER)[0] if request.page_token else ""
        size = page_size(request.page_size)
        entitlement = await self._entitlement()
        reach = reach_of(entitlement)
        own = await self._own_models.list_ready(current_account()) if entitlement.limits.own_loras else ()
        reached = (
            model
            for model in sorted((*self._snapshot.models(), *own), key=lambda model: model.model_id)
            if model.model_id > after and reach.includes(model.family, minimum_tier_of(model))
        )
        # One more than the page holds tells whether another page follows.
        found = list(islice(reached, size + 1))
        models, token = self._page_tokens.cut(found, size, _FILTER, lambda model: [model.model_id])
        return model_service_pb2.ListModelsResponse(models=models, next_page_token=token)

    async def GetModel(self, request: model_service_pb2.GetModelRequest, _context: object) -> model_pb2.Model:
        """Returns a model that the caller reaches."""
        entitlement = await self._entitlement()
        if (lora_id := own_lora_id(request.model_id)) is not None:
            model = (await self._own_models.resolve(lora_id, current_account())).model
        else:
            model = self._snapshot.resolve(request.model_id).model
        reach = reach_of(entitlement)
        minimum_tier = minimum_tier_of(model)
        if not reach.includes(model.family, minimum_tier):
            raise model_not_in_tier(model.model_id, reach.tier, minimum_tier)
        return model

    async def _entitlement(self) -> entitlement_pb2.Entitlement:
        return await self._entitlements.of(current_account(), at_most_seconds=_OLDEST_SECONDS)
