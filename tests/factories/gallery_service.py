"""A running svc_gallery as its tests see it: calls to any of its services as anybody, its clock, its rows and its objects."""

from collections.abc import AsyncIterator, Awaitable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

import asyncpg
import grpc
from pingvas.gallery.v1 import (
    board_service_pb2,
    board_service_pb2_grpc,
    export_service_pb2,
    export_service_pb2_grpc,
    gallery_service_pb2,
    gallery_service_pb2_grpc,
    import_service_pb2_grpc,
    library_service_pb2,
    library_service_pb2_grpc,
    lineage_service_pb2,
    lineage_service_pb2_grpc,
    preset_service_pb2,
    preset_service_pb2_grpc,
    sharing_service_pb2,
    sharing_service_pb2_grpc,
    template_service_pb2,
    template_service_pb2_grpc,
)

from svc_common.db import Database
from svc_common.errors import Reason
from svc_common.objects import S3ObjectStore
from svc_gallery.main import GallerySettings, compose
from tests.factories.gallery import Clock, import_request
from tests.harness_postgres import DatabaseFactory, ServiceDatabase
from tests.harness_s3 import S3Server
from tests.harness_service import Identities, refusal_of, running, settings_values

_SERVICES: Final[Mapping[str, tuple[Any, Any]]] = {
    "BoardService": (board_service_pb2, board_service_pb2_grpc.BoardServiceStub),
    "ExportService": (export_service_pb2, export_service_pb2_grpc.ExportServiceStub),
    "GalleryService": (gallery_service_pb2, gallery_service_pb2_grpc.GalleryServiceStub),
    "LibraryService": (library_service_pb2, library_service_pb2_grpc.LibraryServiceStub),
    "LineageService": (lineage_service_pb2, lineage_service_pb2_grpc.LineageServiceStub),
    "SharingService": (sharing_service_pb2, sharing_service_pb2_grpc.SharingServiceStub),
    "TemplateService": (template_service_pb2, template_service_pb2_grpc.TemplateServiceStub),
}


@dataclass(frozen=True, slots=True)
class Gallery:
    """A running svc_gallery, and short ways to call it."""

    public: grpc.aio.Channel
    internal: grpc.aio.Channel
    identities: Identities
    database: ServiceDatabase
    objects: S3ObjectStore
    clock: Clock

    def call(self, account_id: UUID, method: str, **fields: Any) -> Awaitable[Any]:
        """Calls `Service.Method` as a person with an account of their own."""
        service, name = method.split(".")
        messages, stub = _SERVICES[service]
        request = getattr(messages, f"{name}Request")(**fields)
        return getattr(stub(self.public), name)(request, metadata=self.identities.as_user(account_id))

    def boards(self, account_id: UUID, method: str, **fields: Any) -> Awaitable[Any]:
        """Calls a method of BoardService."""
        return self.call(account_id, f"BoardService.{method}", **fields)

    def images(self, account_id: UUID, method: str, **fields: Any) -> Awaitable[Any]:
        """Calls a method of GalleryService."""
        return self.call(account_id, f"GalleryService.{method}", **fields)

    async def board(self, account_id: UUID, name: str = "Sea", parent_board_id: str = "") -> str:
        """Creates a board and returns its id."""
        made = await self.boards(account_id, "CreateBoard", name=name, parent_board_id=parent_board_id)
        return str(made.board_id)

    async def shown(self, account_id: UUID, **filters: Any) -> list[str]:
        """Returns the ids of the first page of pictures."""
        page = await self.images(account_id, "ListImages", page_size=200, **filters)
        return [image.image_id for image in page.images]

    async def tree(self, account_id: UUID, **fields: Any) -> Mapping[str, str]:
        """Returns of each board, by its name, the id of the one that it lies in."""
        page = await self.boards(account_id, "ListBoards", page_size=200, **fields)
        return {board.name: board.parent_board_id for board in page.boards}

    async def reason(self, account_id: UUID, method: str, **fields: Any) -> Reason:
        """Returns why a call is refused."""
        return (await refusal_of(self.call(account_id, method, **fields))).reason

    def resolve(self, account_id: UUID, **fields: Any) -> Awaitable[Any]:
        """Resolves a preset as svc_generation does."""
        request = preset_service_pb2.ResolvePresetRequest(account_id=str(account_id), **fields)
        stub = preset_service_pb2_grpc.PresetServiceStub(self.internal)
        return stub.ResolvePreset(request, metadata=self.identities.as_service("svc_generation"))

    async def take_in(self, account_id: UUID, count: int = 1, prompt: str = "a penguin", **fields: Any) -> list[str]:
        """Imports a new job's pictures and returns their ids."""
        request = import_request(account_id, image_count=count)
        request.prompt = prompt
        for name, value in fields.items():
            setattr(request, name, value)
        return await self.import_job(request)

    async def import_job(self, request: Any) -> list[str]:
        """Imports as svc_generation does."""
        stub = import_service_pb2_grpc.ImportServiceStub(self.internal)
        answer = await stub.ImportImages(request, metadata=self.identities.as_service("svc_generation"))
        return list(answer.image_ids)

    async def rows(self, statement: str, *arguments: Any) -> list[asyncpg.Record]:
        """Runs a statement as the administrator of the database, who sees every row."""
        connection = await asyncpg.connect(self.database.admin_url)
        try:
            return await connection.fetch(statement, *arguments)
        finally:
            await connection.close()

    @asynccontextmanager
    async def tasks(self) -> AsyncIterator[Database]:
        """Offers the database as sweeps see it."""
        database = Database(self.database.tasks_url)
        try:
            yield database
        finally:
            await database.close()


@asynccontextmanager
async def running_gallery(
    database_for: DatabaseFactory, s3_server: S3Server, identities: Identities, *, has_background: bool = True
) -> AsyncIterator[Gallery]:
    """Runs svc_gallery on a database of its own until the block ends.

    Without its background work a test does all of that itself, and nothing comes between its steps.
    """
    database, clock = await database_for("gallery"), Clock()
    settings = GallerySettings(**settings_values(identities, "svc_gallery", database, s3=s3_server))
    server = compose(settings, clock)
    if not has_background:
        server._background = []
    async with running(server) as service:
        yield Gallery(service.public, service.internal, identities, database, s3_server.store(), clock)
