"""Serves JobErasureService: erases the jobs of accounts that are deleted."""

from uuid import UUID

from pingvas.generation.v1 import job_erasure_service_pb2, job_erasure_service_pb2_grpc

from svc_generation.usecases.erasing import JobEraser


class JobErasureServicer(job_erasure_service_pb2_grpc.JobErasureServiceServicer):
    """Implements pingvas.generation.v1.JobErasureService."""

    def __init__(self, eraser: JobEraser) -> None:
        """Takes what erases."""
        self._eraser = eraser

    async def EraseJobs(
        self, request: job_erasure_service_pb2.EraseJobsRequest, _context: object
    ) -> job_erasure_service_pb2.EraseJobsResponse:
        """Erases a part of an account's jobs."""
        has_more = await self._eraser.erase_part(UUID(request.account_id))
        return job_erasure_service_pb2.EraseJobsResponse(has_more=has_more)
