"""Serves ModelService: the models that the caller's tier reaches."""

from itertools import islice
from typing import Final

from pingvas.models.v1 import model_pb2, model_service_pb2, model_service_pb2_grpc

from svc_common.caller import current_account
from svc_common.paging import PageTokens, page_size
from svc_models.domain.access import model_not_in_tier
from svc_models.servicer.reach import ReachLookup
from svc_models.servicer.snapshot import CatalogueSnapshot, minimum_tier_of

_FILTER: Final = "models"


class ModelServicer(model_service_pb2_grpc.ModelServiceServicer):
    """Implements pingvas.models.v1.ModelService."""

    def __init__(self, snapshot: CatalogueSnapshot, reach: ReachLookup, page_tokens: PageTokens) -> None:
        """Takes the catalogue, the look-up of what callers reach, and the maker of page tokens."""
        self._snapshot = snapshot
        self._reach = reach
        self._page_tokens = page_tokens

    async def ListModels(
        self, request: model_service_pb2.ListModelsRequest, _context: object
    ) -> model_service_pb2.ListModelsResponse:
        """Returns a page of the models that the caller reaches."""
        after = self._page_tokens.decode(request.page_token, _FILTER)[0] if request.page_token else ""
        size = page_size(request.page_size)
        reach = await self._reach.of(current_account())
        reached = (
            model
            for model in self._snapshot.models()
            if model.model_id > after and reach.includes(model.family, minimum_tier_of(model))
        )
        # One more than the page holds tells whether another page follows.
        found = list(islice(reached, size + 1))
        models, token = self._page_tokens.cut(found, size, _FILTER, lambda model: [model.model_id])
        return model_service_pb2.ListModelsResponse(models=models, next_page_token=token)

    async def GetModel(self, request: model_service_pb2.GetModelRequest, _context: object) -> model_pb2.Model:
        """Returns a model that the caller reaches."""
        model = self._snapshot.resolve(request.model_id).model
        reach = await self._reach.of(current_account())
        minimum_tier = minimum_tier_of(model)
        if not reach.includes(model.family, minimum_tier):
            raise model_not_in_tier(model.model_id, reach.tier, minimum_tier)
        return model
