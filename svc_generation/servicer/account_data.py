"""Serves JobDataService: what svc_generation has of an account, for the copy that its owner asks for."""

from typing import Final

from pingvas.common.v1.account_export_pb2 import AccountPage, ExportAccountRequest
from pingvas.generation.v1 import job_data_service_pb2, job_data_service_pb2_grpc, job_pb2

from svc_common.account_data import AccountPager, rows_of, without
from svc_common.db import Database
from svc_common.paging import PageTokens
from svc_generation.domain.waiting import WaitEstimate
from svc_generation.messages.jobs import JobConverter
from svc_generation.messages.webhooks import delivery_message, endpoint_message
from svc_generation.store.models import Job, WebhookDelivery, WebhookEndpoint

_NO_WAIT: Final = WaitEstimate(0.0, 0.0)


# The method's rules are there once its module is; the stubs import messages only.
_SERVICE: Final = job_data_service_pb2.DESCRIPTOR


class JobDataServicer(job_data_service_pb2_grpc.JobDataServiceServicer):
    """Implements pingvas.generation.v1.JobDataService."""

    def __init__(self, *, database: Database, page_tokens: PageTokens, converter: JobConverter) -> None:
        """Takes the database under the requests role."""
        self._converter = converter
        collections = (
            rows_of("jobs", Job, (Job.job_id,), self._job),
            rows_of("webhook_endpoints", WebhookEndpoint, (WebhookEndpoint.endpoint_id,), endpoint_message),
            rows_of("webhook_deliveries", WebhookDelivery, (WebhookDelivery.delivery_id,), delivery_message),
        )
        self._pager = AccountPager(database=database, page_tokens=page_tokens, collections=collections)

    async def ExportAccount(self, request: ExportAccountRequest, _context: object) -> AccountPage:
        """Returns a page of what there is of an account."""
        return await self._pager.page(request)

    async def _job(self, row: Job) -> job_pb2.Job:
        message = await self._converter.job(row, 0, _NO_WAIT)
        # Addresses end within the hour; the pictures are in the copy.
        for image in message.images:
            without(image, "url")
        return message
