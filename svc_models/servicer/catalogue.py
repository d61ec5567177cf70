"""Serves CatalogueService: models for the rest of the platform."""

from pingvas.models.v1 import catalogue_service_pb2, catalogue_service_pb2_grpc, model_pb2

from svc_common.db import Database
from svc_models.domain.access import model_not_found
from svc_models.servicer.messages import located_message, manifest_files
from svc_models.servicer.snapshot import CatalogueSnapshot
from svc_models.servicer.stored_files import StoredFiles
from svc_models.store import queries


class CatalogueServicer(catalogue_service_pb2_grpc.CatalogueServiceServicer):
    """Implements pingvas.models.v1.CatalogueService."""

    def __init__(self, snapshot: CatalogueSnapshot, database: Database, stored_files: StoredFiles) -> None:
        """Takes the catalogue to answer from, the database with its older revisions, and the models bucket."""
        self._snapshot = snapshot
        self._database = database
        self._stored_files = stored_files

    async def ResolveModel(
        self, request: catalogue_service_pb2.ResolveModelRequest, _context: object
    ) -> model_pb2.ModelSpec:
        """Returns a model with all that is needed to run and to price it."""
        return self._snapshot.resolve(request.model_id)

    async def LocateModelFiles(
        self, request: catalogue_service_pb2.LocateModelFilesRequest, _context: object
    ) -> catalogue_service_pb2.LocateModelFilesResponse:
        """Returns addresses of a revision's files: any that was ever served, as jobs of older ones may still wait."""
        async with self._database.transaction() as transaction:
            row = await queries.find_revision(transaction, request.model_id, request.revision)
        if row is None:
            raise model_not_found(request.model_id)
        located = await self._stored_files.locate(row.model_id, row.revision, manifest_files(row))
        return located_message(located)
