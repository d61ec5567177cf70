"""Puts svc_models together from its settings and runs it: `python -m svc_models.main`."""

import sys
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Annotated, Final

from pingvas.generation.v1.model_use_service_pb2_grpc import ModelUseServiceStub
from pingvas.models.v1.catalogue_service_pb2_grpc import add_CatalogueServiceServicer_to_server
from pingvas.models.v1.lora_data_service_pb2_grpc import add_LoraDataServiceServicer_to_server
from pingvas.models.v1.lora_erasure_service_pb2_grpc import add_LoraErasureServiceServicer_to_server
from pingvas.models.v1.lora_service_pb2_grpc import add_LoraServiceServicer_to_server
from pingvas.models.v1.model_service_pb2_grpc import add_ModelServiceServicer_to_server
from pingvas.payment.v1 import ledger_service_pb2_grpc
from pydantic import Field, field_validator
from pydantic_settings import NoDecode

from svc_common import clock
from svc_common.capacity import service_capacity
from svc_common.clients import channel
from svc_common.concurrency import until_set
from svc_common.connection_budget import service_databases
from svc_common.entitlements import from_ledger
from svc_common.free_space import Store
from svc_common.limits.accounts import AccountLimits
from svc_common.objects import S3ObjectStore
from svc_common.paging import PageTokens
from svc_common.server import Server, run
from svc_common.settings import PictureSettings, ServiceSettings, load, neighbour
from svc_common.sweeps import run_sweeps
from svc_common.tokens import ServiceCredential
from svc_models.domain.manifest import Manifest
from svc_models.servicer import (
    CatalogueServicer,
    CatalogueSnapshot,
    LoraDataServicer,
    LoraErasureServicer,
    LoraServicer,
    ModelServicer,
    OwnModels,
    StoredFiles,
)
from svc_models.tasks.catalogue import CatalogueError, CatalogueFiller, read_folders
from svc_models.tasks.loras import LoraTasks

SERVICE_NAME: Final = "svc_models"


class ModelsSettings(ServiceSettings, PictureSettings):
    """The settings of svc_models."""

    payment_internal_address: str = neighbour("payment")
    generation_internal_address: str = neighbour("generation")
    catalogue_dirs: Annotated[tuple[Path, ...], NoDecode] = Field(
        default=(),
        description="folders of models for the catalogue, comma-separated; absent: the catalogue stays as it is",
    )
    default_model_id: str | None = Field(
        default=None,
        description="model that a request without one gets; absent: pingvas-tiny, or the first when that isn't there",
    )

    models_bucket: str = Field(
        default="pingvas-models", min_length=3, description="bucket of the models' files, in which any may be offered"
    )

    @field_validator("catalogue_dirs", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


def compose(
    settings: ModelsSettings, folder_manifests: Sequence[Manifest], now: Callable[[], datetime] = clock.now
) -> Server:
    """Returns the service, which fills its catalogue before it serves."""
    capacity = service_capacity(settings, Store.POSTGRESQL, Store.OBJECTS)
    # The other one puts the parts of own LoRAs together.
    database, tasks_database = service_databases(settings, capacity, sweeps=4, others=1)
    credential = ServiceCredential.from_file(SERVICE_NAME, settings.service_key_file)
    payment, generation = (
        channel(address, credential, tls=settings.mutual_tls)
        for address in (settings.payment_internal_address, settings.generation_internal_address)
    )
    bucket = S3ObjectStore.from_settings(settings, settings.models_bucket)
    objects = S3ObjectStore.from_settings(settings, settings.s3_bucket, public_url=settings.objects_public_url)
    snapshot = CatalogueSnapshot(database)
    limits = AccountLimits.from_settings(settings, from_ledger(ledger_service_pb2_grpc.LedgerServiceStub(payment)))
    page_tokens = PageTokens.derived_from(settings.service_key_file.read_bytes())
    own_models = OwnModels(database, tasks_database, StoredFiles(objects, now))
    models = ModelServicer(snapshot, own_models, limits.entitlements, page_tokens)
    loras = LoraServicer(
        database=database,
        objects=objects,
        entitlements=limits.entitlements,
        jobs=ModelUseServiceStub(generation),
        page_tokens=page_tokens,
        now=now,
        new_id=clock.new_id,
        require_room=partial(capacity.require, Store.POSTGRESQL, Store.OBJECTS),
    )
    catalogue = CatalogueServicer(snapshot, database, StoredFiles(bucket, now), own_models)
    lora_tasks = LoraTasks(database=tasks_database, objects=objects, now=now)
    filler = CatalogueFiller(tasks_database, bucket, folder_manifests, settings.default_model_id, now)

    return Server(
        settings,
        SERVICE_NAME,
        public=[(add_ModelServiceServicer_to_server, models), (add_LoraServiceServicer_to_server, loras)],
        internal=[
            (add_CatalogueServiceServicer_to_server, catalogue),
            (add_LoraErasureServiceServicer_to_server, LoraErasureServicer(tasks_database, objects)),
            (add_LoraDataServiceServicer_to_server, LoraDataServicer(database=database, page_tokens=page_tokens)),
        ],
        background=[
            snapshot.keep_fresh,
            partial(run_sweeps, tasks_database, [filler.sweep(), *lora_tasks.sweeps()]),
            partial(until_set, work=lora_tasks.run),
        ],
        on_start=[filler.fill, snapshot.refresh],
        on_stop=[payment.close, generation.close, database.close, tasks_database.close],
        capacity=capacity,
        limits=limits,
    )


def main() -> None:
    """Runs the service until it is told to stop; a bad manifest is named, and it doesn't start."""
    settings = load(ModelsSettings)
    try:
        run(settings, partial(compose, settings, read_folders(settings.catalogue_dirs)))
    except CatalogueError as error:
        sys.stderr.write(f"This process can't start: {error}\n")
        sys.exit(2)


if __name__ == "__main__":
    main()
