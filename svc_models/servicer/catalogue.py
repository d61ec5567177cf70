"""Serves CatalogueService: models for the rest of the platform."""

from pingvas.models.v1 import catalogue_service_pb2, catalogue_service_pb2_grpc, model_pb2

from svc_models.servicer.snapshot import CatalogueSnapshot


class CatalogueServicer(catalogue_service_pb2_grpc.CatalogueServiceServicer):
    """Implements pingvas.models.v1.CatalogueService."""

    def __init__(self, snapshot: CatalogueSnapshot) -> None:
        """Takes the catalogue to answer from."""
        self._snapshot = snapshot

    async def ResolveModel(
        self, request: catalogue_service_pb2.ResolveModelRequest, _context: object
    ) -> model_pb2.ModelSpec:
        """Returns a model with all that is needed to run and to price it."""
        return self._snapshot.resolve(request.model_id)
