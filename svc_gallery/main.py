"""Puts svc_gallery together from its settings and runs it: `python -m svc_gallery.main`."""

from collections.abc import Callable
from datetime import datetime
from functools import partial
from typing import Final

from pingvas.gallery.v1.gallery_service_pb2_grpc import add_GalleryServiceServicer_to_server
from pingvas.gallery.v1.import_service_pb2_grpc import add_ImportServiceServicer_to_server
from pingvas.gallery.v1.source_service_pb2_grpc import add_SourceServiceServicer_to_server

from svc_common import clock
from svc_common.db import Database
from svc_common.objects import S3ObjectStore
from svc_common.paging import PageTokens
from svc_common.server import Server, run
from svc_common.settings import ServiceSettings, load
from svc_common.sweeps import run_sweeps
from svc_gallery.servicer import GalleryServicer, ImportServicer, SourceServicer
from svc_gallery.tasks import UploadSweeper

SERVICE_NAME: Final = "svc_gallery"

_TASKS_POOL_SIZE: Final = 2
"""The sweep, and the lock that it holds meanwhile."""


def compose(settings: ServiceSettings, now: Callable[[], datetime] = clock.now) -> Server:
    """Returns the service."""
    database = Database(settings.database_url, pool_size=settings.database_pool_size)
    tasks_database = Database(settings.tasks_database_url, pool_size=_TASKS_POOL_SIZE)
    objects = S3ObjectStore(
        bucket=settings.s3_bucket,
        region=settings.s3_region,
        endpoint_url=settings.s3_endpoint_url,
        signing_endpoint_url=settings.s3_signing_endpoint_url,
        access_key=settings.s3_access_key,
        secret_key=settings.s3_secret_key,
        public_url=settings.objects_public_url,
    )
    page_tokens = PageTokens.derived_from(settings.service_key_file.read_bytes())
    sweeper = UploadSweeper(database=tasks_database, objects=objects, now=now)
    gallery = GalleryServicer(database, objects, page_tokens, now, clock.new_id)
    return Server(
        settings,
        SERVICE_NAME,
        public=[(add_GalleryServiceServicer_to_server, gallery)],
        internal=[
            (add_ImportServiceServicer_to_server, ImportServicer(database, now)),
            (add_SourceServiceServicer_to_server, SourceServicer(database, objects, now)),
        ],
        background=[partial(run_sweeps, tasks_database, sweeper.sweeps())],
        on_stop=[database.close, tasks_database.close],
    )


def main() -> None:
    """Runs the service until it is told to stop."""
    settings = load(ServiceSettings)
    run(settings, partial(compose, settings))


if __name__ == "__main__":
    main()
