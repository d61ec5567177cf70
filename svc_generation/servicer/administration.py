"""GenerationAdminService: what administrators see of the queue, done as OperatorService does it for the platform's tools."""

from typing import Final

import structlog
from pingvas.generation.v1 import (
    generation_admin_service_pb2,
    generation_admin_service_pb2_grpc,
    operator_service_pb2,
)

from svc_common.caller import current_user
from svc_generation.servicer.operator import OperatorServicer

# Its file has the rules of the methods and no messages, so that the generated stubs don't import it.
CONTRACT: Final = generation_admin_service_pb2.DESCRIPTOR
_log: Final = structlog.get_logger(__name__)


class GenerationAdminServicer(generation_admin_service_pb2_grpc.GenerationAdminServiceServicer):
    """Serves pingvas.generation.v1.GenerationAdminService."""

    def __init__(self, operator: OperatorServicer) -> None:
        """Takes what serves the same to the platform's tools."""
        self._operator = operator

    async def GetQueue(
        self, request: operator_service_pb2.GetQueueRequest, context: object
    ) -> operator_service_pb2.Queue:
        """Adds up what waits and runs."""
        return await self._operator.GetQueue(request, context)

    async def ListWorkers(
        self, request: operator_service_pb2.ListWorkersRequest, context: object
    ) -> operator_service_pb2.ListWorkersResponse:
        """Lists the workers."""
        return await self._operator.ListWorkers(request, context)

    async def DrainWorker(
        self, request: operator_service_pb2.DrainWorkerRequest, context: object
    ) -> operator_service_pb2.DrainWorkerResponse:
        """Drains a worker."""
        answer = await self._operator.DrainWorker(request, context)
        _log.info("worker.drained_by", worker_id=request.worker_id, by=str(current_user()))
        return answer

    async def GetJobRecord(
        self, request: operator_service_pb2.GetJobRecordRequest, context: object
    ) -> operator_service_pb2.JobRecord:
        """Reads a job of anybody."""
        record = await self._operator.GetJobRecord(request, context)
        _log.info("job.shown", job_id=request.job_id, by=str(current_user()))
        return record
