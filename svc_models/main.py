"""Puts svc_models together from its settings and runs it: `python -m svc_models.main`."""

import sys
from collections.abc import Callable
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
from svc_common.paging import PageTokens
from svc_common.server import Server, run
from svc_common.settings import ServiceSettings, load
from svc_common.tokens import ServiceCredential
from svc_models.servicer import CatalogueServicer, CatalogueSnapshot, ModelServicer, ReachLookup
from svc_models.tasks import CatalogueError, Publication, publish, read_folders

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

    @field_validator("catalogue_dirs", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


def compose(settings: ModelsSettings, publication: Publication, now: Callable[[], datetime] = clock.now) -> Server:
    """Returns the service, which fills its catalogue before it serves."""
    database = Database(settings.database_url, pool_size=settings.database_pool_size)
    tasks_database = Database(settings.tasks_database_url, pool_size=1)
    credential = ServiceCredential.from_file(SERVICE_NAME, settings.service_key_file)
    payment = channel(settings.payment_internal_address, credential)
    snapshot = CatalogueSnapshot(database)
    reach = ReachLookup(ledger_service_pb2_grpc.LedgerServiceStub(payment))
    models = ModelServicer(snapshot, reach, PageTokens.derived_from(settings.service_key_file.read_bytes()))

    async def fill_catalogue() -> None:
        await publish(tasks_database, publication, now)
        await snapshot.refresh()

    return Server(
        settings,
        SERVICE_NAME,
        public=[(add_ModelServiceServicer_to_server, models)],
        internal=[(add_CatalogueServiceServicer_to_server, CatalogueServicer(snapshot))],
        background=[snapshot.keep_fresh],
        on_start=[fill_catalogue],
        on_stop=[payment.close, database.close, tasks_database.close],
    )


def main() -> None:
    """Runs the service until it is told to stop; a bad manifest is named, and it doesn't start."""
    settings = load(ModelsSettings)
    try:
        publication = read_folders(settings.catalogue_dirs, settings.default_model_id)
    except CatalogueError as error:
        sys.stderr.write(f"This process can't start: {error}\n")
        sys.exit(2)
    run(settings, partial(compose, settings, publication))


if __name__ == "__main__":
    main()
