"""Serves CatalogueService: models for the rest of the platform."""

from uuid import UUID

from pingvas.models.v1 import catalogue_service_pb2, catalogue_service_pb2_grpc, model_pb2

from svc_common.db import Database
from svc_common.own_models import own_lora_id
from svc_models.domain.access import model_not_found
from svc_models.domain.storage import revision_folder
from svc_models.messages.catalogue import located_message, manifest_files
from svc_models.servicer.own_models import OwnModels
from svc_models.servicer.snapshot import CatalogueSnapshot
from svc_models.servicer.stored_files import StoredFiles
from svc_models.store import queries


class CatalogueServicer(catalogue_service_pb2_grpc.CatalogueServiceServicer):
    """Implements pingvas.models.v1.CatalogueService."""

    def __init__(
        self, snapshot: CatalogueSnapshot, database: Database, stored_files: StoredFiles, own_models: OwnModels
    ) -> None:
        """Takes the catalogue to answer from, the database with its older revisions, the models bucket, and accounts' own."""
        self._snapshot = snapshot
        self._database = database
        self._stored_files = stored_files
        self._own_models = own_models

    async def ResolveModel(
        self, request: catalogue_service_pb2.ResolveModelRequest, _context: object
    ) -> model_pb2.ModelSpec:
        """Returns a model with all that is needed to run and to price it."""
        if (lora_id := own_lora_id(request.model_id)) is not None:
            return await self._own_models.resolve(lora_id, UUID(request.account_id) if request.account_id else None)
        return self._snapshot.resolve(request.model_id)

    async def LocateModelFiles(
        self, request: catalogue_service_pb2.LocateModelFilesRequest, _context: object
    ) -> catalogue_service_pb2.LocateModelFilesResponse:
        """Returns addresses of a revision's files: any that was ever served, as jobs of older ones may still wait."""
        if (lora_id := own_lora_id(request.model_id)) is not None:
            return located_message(await self._own_models.locate(lora_id, request.revision))
        async with self._database.transaction() as transaction:
            row = await queries.find_revision(transaction, request.model_id, request.revision)
        if row is None:
            raise model_not_found(request.model_id)
        located = await self._stored_files.locate(
            row.model_id, revision_folder(row.model_id, row.revision), manifest_files(row)
        )
        return located_message(located)
