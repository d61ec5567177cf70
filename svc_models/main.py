"""Puts svc_models together from its settings and runs it: `python -m svc_models.main`."""

import sys
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Annotated, Final

from pingvas.models.v1.catalogue_service_pb2_grpc import add_CatalogueServiceServicer_to_server
from pingvas.models.v1.model_service_pb2_grpc import add_ModelServiceServicer_to_server
from pingvas.payment.v1 import ledger_service_pb2_grpc
from pydantic import Field, field_validator
from pydantic_settings import NoDecode

from svc_common import clock
from svc_common.clients import channel
from svc_common.db import Database
from svc_common.objects import S3ObjectStore
from svc_common.paging import PageTokens
from svc_common.server import Server, run
from svc_common.settings import ServiceSettings, load
from svc_common.sweeps import run_sweeps
from svc_common.tokens import ServiceCredential
from svc_models.domain.manifest import Manifest
from svc_models.servicer import CatalogueServicer, CatalogueSnapshot, ModelServicer, ReachLookup, StoredFiles
from svc_models.tasks import CatalogueError, CatalogueFiller, read_folders

SERVICE_NAME: Final = "svc_models"


class ModelsSettings(ServiceSettings):
    """The settings of svc_models."""

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
    database = Database(settings.database_url, pool_size=settings.database_pool_size)
    # One connection holds the sweep's lock, another does its work.
    tasks_database = Database(settings.tasks_database_url, pool_size=2)
    credential = ServiceCredential.from_file(SERVICE_NAME, settings.service_key_file)
    payment = channel(settings.payment_internal_address, credential)
    bucket = _models_bucket(settings)
    snapshot = CatalogueSnapshot(database)
    reach = ReachLookup(ledger_service_pb2_grpc.LedgerServiceStub(payment))
    models = ModelServicer(snapshot, reach, PageTokens.derived_from(settings.service_key_file.read_bytes()))
    catalogue = CatalogueServicer(snapshot, database, StoredFiles(bucket, now))
    filler = CatalogueFiller(tasks_database, bucket, folder_manifests, settings.default_model_id, now)

    return Server(
        settings,
        SERVICE_NAME,
        public=[(add_ModelServiceServicer_to_server, models)],
        internal=[(add_CatalogueServiceServicer_to_server, catalogue)],
        background=[snapshot.keep_fresh, partial(run_sweeps, tasks_database, [filler.sweep()])],
        on_start=[filler.fill, snapshot.refresh],
        on_stop=[payment.close, database.close, tasks_database.close],
    )


def _models_bucket(settings: ModelsSettings) -> S3ObjectStore:
    return S3ObjectStore(
        bucket=settings.models_bucket,
        region=settings.s3_region,
        endpoint_url=settings.s3_endpoint_url,
        signing_endpoint_url=settings.s3_signing_endpoint_url,
        access_key=settings.s3_access_key,
        secret_key=settings.s3_secret_key,
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
