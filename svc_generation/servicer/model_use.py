"""Serves ModelUseService: which LoRAs the jobs of an account need."""

from uuid import UUID

from pingvas.generation.v1 import job_pb2, model_use_service_pb2, model_use_service_pb2_grpc

from svc_common.db import Database
from svc_generation.messages.operations import Operation, parsed
from svc_generation.store import queries


class ModelUseServicer(model_use_service_pb2_grpc.ModelUseServiceServicer):
    """Implements pingvas.generation.v1.ModelUseService."""

    def __init__(self, database: Database) -> None:
        """Takes the database under the requests role, since the jobs are one account's."""
        self._database = database

    async def CountLoraJobs(
        self, request: model_use_service_pb2.CountLoraJobsRequest, _context: object
    ) -> model_use_service_pb2.CountLoraJobsResponse:
        """Counts the jobs of an account that wait or run with a LoRA."""
        account_id = UUID(request.account_id)
        async with self._database.transaction(account_id) as transaction:
            operations = await queries.list_open_operations(transaction, account_id, request.model_id)
        job_count = sum(_uses(parsed(kind, data), request.model_id) for kind, data in operations)
        return model_use_service_pb2.CountLoraJobsResponse(job_count=job_count)


def _uses(operation: Operation, model_id: str) -> bool:
    loras = () if isinstance(operation, job_pb2.Upscale) else operation.loras
    return any(lora.model_id == model_id for lora in loras)
