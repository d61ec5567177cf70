"""Puts svc_gallery together from its settings and runs it: `python -m svc_gallery.main`."""

from collections.abc import Callable
from datetime import datetime
from functools import partial
from typing import Final

from pingvas.gallery.v1.board_service_pb2_grpc import add_BoardServiceServicer_to_server
from pingvas.gallery.v1.export_service_pb2_grpc import add_ExportServiceServicer_to_server
from pingvas.gallery.v1.gallery_data_service_pb2_grpc import add_GalleryDataServiceServicer_to_server
from pingvas.gallery.v1.gallery_erasure_service_pb2_grpc import add_GalleryErasureServiceServicer_to_server
from pingvas.gallery.v1.gallery_service_pb2_grpc import add_GalleryServiceServicer_to_server
from pingvas.gallery.v1.import_service_pb2_grpc import add_ImportServiceServicer_to_server
from pingvas.gallery.v1.library_service_pb2_grpc import add_LibraryServiceServicer_to_server
from pingvas.gallery.v1.lineage_service_pb2_grpc import add_LineageServiceServicer_to_server
from pingvas.gallery.v1.preset_service_pb2_grpc import add_PresetServiceServicer_to_server
from pingvas.gallery.v1.sharing_service_pb2_grpc import add_SharingServiceServicer_to_server
from pingvas.gallery.v1.source_service_pb2_grpc import add_SourceServiceServicer_to_server
from pingvas.gallery.v1.storage_service_pb2_grpc import add_StorageServiceServicer_to_server
from pingvas.gallery.v1.template_service_pb2_grpc import add_TemplateServiceServicer_to_server
from pingvas.payment.v1.ledger_service_pb2_grpc import LedgerServiceStub
from pingvas.user.v1.account_notice_service_pb2_grpc import AccountNoticeServiceStub

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
from svc_gallery.domain.share_links import ShareTokens
from svc_gallery.servicer import (
    BoardServicer,
    ExportServicer,
    Filler,
    GalleryDataServicer,
    GalleryErasureServicer,
    GalleryServicer,
    ImportServicer,
    LibraryServicer,
    LineageServicer,
    LinkPasswords,
    PresetServicer,
    SharingServicer,
    ShippedTemplates,
    SourceServicer,
    StorageServicer,
    TemplateServicer,
)
from svc_gallery.tasks import ExportMaker, ImagePurger, OverageWatcher, UploadSweeper
from svc_gallery.usecases.exporting import Exporter

SERVICE_NAME: Final = "svc_gallery"


class GallerySettings(ServiceSettings, PictureSettings):
    """The settings of svc_gallery."""

    payment_internal_address: str = neighbour("payment")
    user_internal_address: str = neighbour("user")


def compose(settings: GallerySettings, now: Callable[[], datetime] = clock.now) -> Server:
    """Returns the service."""
    capacity = service_capacity(settings, Store.POSTGRESQL, Store.OBJECTS)
    # The other one is the export that is being made.
    database, tasks_database = service_databases(settings, capacity, sweeps=4, others=1)
    objects = S3ObjectStore.from_settings(settings, settings.s3_bucket, public_url=settings.objects_public_url)
    secret = settings.service_key_file.read_bytes()
    sweeper = UploadSweeper(database=tasks_database, objects=objects, now=now)
    credential = ServiceCredential.from_file(SERVICE_NAME, settings.service_key_file)
    payment, users = (
        channel(address, credential, tls=settings.mutual_tls)
        for address in (settings.payment_internal_address, settings.user_internal_address)
    )
    limits = AccountLimits.from_settings(settings, from_ledger(LedgerServiceStub(payment)))
    overages = OverageWatcher(
        database=tasks_database, allowances=limits.allowances, people=AccountNoticeServiceStub(users), now=now
    )
    purger = ImagePurger(database=tasks_database, objects=objects, now=now)
    exports = ExportMaker(Exporter(database=tasks_database, objects=objects, now=now))
    require_room = partial(capacity.require, Store.POSTGRESQL, Store.OBJECTS)
    page_tokens = PageTokens.derived_from(secret)
    gallery = GalleryServicer(
        database,
        objects,
        page_tokens,
        limits.allowances,
        now,
        clock.new_id,
        require_room,
    )
    exporting = ExportServicer(database, objects, page_tokens, now, clock.new_id, require_room)
    boards = BoardServicer(database, objects, page_tokens, now, clock.new_id)
    passwords = LinkPasswords()
    share_tokens = ShareTokens.derived_from(secret)
    sharing = SharingServicer(database, objects, share_tokens, passwords, now, clock.new_id)
    account_data = GalleryDataServicer(
        database=database, objects=objects, page_tokens=page_tokens, share_tokens=share_tokens, now=now
    )
    filler = Filler(database, ShippedTemplates.load())
    templates = TemplateServicer(filler, objects, page_tokens, now, clock.new_id)
    return Server(
        settings,
        SERVICE_NAME,
        public=[
            (add_GalleryServiceServicer_to_server, gallery),
            (add_BoardServiceServicer_to_server, boards),
            (add_SharingServiceServicer_to_server, sharing),
            (add_TemplateServiceServicer_to_server, templates),
            (add_ExportServiceServicer_to_server, exporting),
            (add_LibraryServiceServicer_to_server, LibraryServicer(database, page_tokens, limits.allowances, now)),
            (add_LineageServiceServicer_to_server, LineageServicer(database, objects, now)),
        ],
        internal=[
            (add_ImportServiceServicer_to_server, ImportServicer(database, now)),
            (add_PresetServiceServicer_to_server, PresetServicer(filler)),
            (add_SourceServiceServicer_to_server, SourceServicer(database, objects, now)),
            (add_StorageServiceServicer_to_server, StorageServicer(database, limits.allowances, now)),
            (add_GalleryErasureServiceServicer_to_server, GalleryErasureServicer(tasks_database, objects)),
            (add_GalleryDataServiceServicer_to_server, account_data),
        ],
        background=[
            partial(
                run_sweeps, tasks_database, [*sweeper.sweeps(), *purger.sweeps(), *overages.sweeps(), *exports.sweeps()]
            ),
            partial(until_set, work=exports.run),
        ],
        on_stop=[payment.close, users.close, database.close, tasks_database.close, passwords.close],
        capacity=capacity,
        limits=limits,
    )


def main() -> None:
    """Runs the service until it is told to stop."""
    settings = load(GallerySettings)
    run(settings, partial(compose, settings))


if __name__ == "__main__":
    main()
