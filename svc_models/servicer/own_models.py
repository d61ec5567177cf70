"""Owns how accounts' own LoRAs answer as models: to the account itself, and to the worker that runs its jobs."""

from collections.abc import Sequence
from uuid import UUID

from pingvas.models.v1 import model_pb2

from svc_common.db import Database
from svc_common.own_models import own_model_id
from svc_models.domain.access import model_not_found
from svc_models.domain.lora_keys import file_folder
from svc_models.domain.loras import FILE_NAME
from svc_models.domain.manifest import ManifestFile
from svc_models.domain.storage import Located
from svc_models.messages.loras import own_model_spec
from svc_models.servicer.stored_files import StoredFiles
from svc_models.store import loras


class OwnModels:
    """Finds own LoRAs that are ready."""

    def __init__(self, database: Database, tasks_database: Database, stored_files: StoredFiles) -> None:
        """Takes the database under both roles, and the files in the accounts' bucket."""
        self._database = database
        self._tasks_database = tasks_database
        self._stored_files = stored_files

    async def list_ready(self, account_id: UUID) -> Sequence[model_pb2.Model]:
        """Returns the LoRAs that an account can use."""
        async with self._database.transaction(account_id) as transaction:
            return [own_model_spec(lora).model for lora in await loras.list_ready(transaction, account_id)]

    async def resolve(self, lora_id: UUID, account_id: UUID | None) -> model_pb2.ModelSpec:
        """Returns a LoRA of an account; raises MODEL_NOT_FOUND for one of another, or when none asks."""
        if account_id is not None:
            async with self._database.transaction(account_id) as transaction:
                lora = await loras.find_ready(transaction, lora_id, account_id)
            if lora is not None:
                return own_model_spec(lora)
        raise model_not_found(own_model_id(lora_id))

    async def locate(self, lora_id: UUID, revision: str) -> Located:
        """Returns the address of a LoRA's file for a worker; raises MODEL_NOT_FOUND, MODEL_NOT_STORED.

        A worker asks for what a job was given, whose account was checked when it was resolved.
        """
        async with self._tasks_database.transaction() as transaction:
            lora = await loras.find_ready(transaction, lora_id)
        if lora is None or str(lora.attempt) != revision:
            raise model_not_found(own_model_id(lora_id))
        file = ManifestFile(FILE_NAME, lora.size_bytes, lora.sha256 or "")
        folder = file_folder(lora.account_id, lora_id, lora.attempt)
        return await self._stored_files.locate(own_model_id(lora_id), folder, [file])
