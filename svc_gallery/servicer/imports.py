"""Serves ImportService: taking in the pictures of finished jobs, and out again those of a job that failed after that."""

from collections.abc import Callable
from datetime import datetime
from uuid import UUID

from pingvas.gallery.v1 import import_service_pb2, import_service_pb2_grpc

from svc_common.db import Database
from svc_gallery.domain.images import check_distinct, job_of_another_account
from svc_gallery.messages.images import image_rows
from svc_gallery.store import boards, queries, templates


class ImportServicer(import_service_pb2_grpc.ImportServiceServicer):
    """Implements pingvas.gallery.v1.ImportService."""

    def __init__(self, database: Database, now: Callable[[], datetime]) -> None:
        """Takes the database under the requests role, since an import concerns one account's rows, and the clock."""
        self._database = database
        self._now = now

    async def ImportImages(
        self, request: import_service_pb2.ImportImagesRequest, _context: object
    ) -> import_service_pb2.ImportImagesResponse:
        """Puts the pictures of one job into its account's gallery, once."""
        account_id, job_id = UUID(request.account_id), UUID(request.job_id)
        images = image_rows(request, self._now())
        image_ids = [image.image_id for image in images]
        check_distinct(image_ids)
        async with self._database.direct(account_id) as direct:
            if await queries.insert_job(direct, images):
                for template_id in filter(None, (request.template_id, request.style_id)):
                    await templates.count_use(direct, account_id, template_id)
            else:
                image_ids = list(await queries.list_ids_of_job(direct, account_id, job_id))
        # The job's places are taken, but by rows that this account can't see.
        if not image_ids:
            raise job_of_another_account(job_id)
        return import_service_pb2.ImportImagesResponse(image_ids=map(str, image_ids))

    async def WithdrawImages(
        self, request: import_service_pb2.WithdrawImagesRequest, _context: object
    ) -> import_service_pb2.WithdrawImagesResponse:
        """Takes the pictures of one job out of its account's gallery."""
        account_id = UUID(request.account_id)
        async with self._database.transaction(account_id) as session:
            # Boards before pictures, as everybody locks them who changes what lies on boards.
            image_ids = await queries.find_ids_of_job(session, account_id, UUID(request.job_id))
            await boards.hold_boards_of(session, image_ids)
            await queries.delete_images_of_job(session, account_id, UUID(request.job_id))
        return import_service_pb2.WithdrawImagesResponse()
