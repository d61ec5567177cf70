"""Owns the encoding of a job in Redis: arq 0.28's job record, serialized as JSON.

arq's own tools (`Job.info`, `Job.status`, `ArqRedis.queued_jobs`) read it when they are given `deserialize`. arq's
default, pickle, would let whoever can write to Redis run code in every worker.
"""

import json
from base64 import b64decode, b64encode
from typing import Any
from uuid import UUID

from arq.jobs import deserialize_job_raw, serialize_job

from svc_common.queue.values import QueuedJob

FUNCTION_NAME = "run_generation_job"
"""The name under which workers register their handler with arq."""


def serialize(record: dict[str, Any]) -> bytes:
    """Encodes one of arq's records."""
    return json.dumps(record, separators=(",", ":")).encode()


def deserialize(record: bytes) -> dict[str, Any]:
    """Decodes one of arq's records. Raises json.JSONDecodeError."""
    decoded: dict[str, Any] = json.loads(record)
    return decoded


def encode_job(job: QueuedJob) -> bytes:
    """Returns the arq record of a job. The creation time is the record's own enqueue time, in milliseconds."""
    arguments = {
        "job_id": str(job.job_id),
        "account_id": str(job.account_id),
        "tier": job.tier,
        "model_id": job.model_id,
        "cost_millicredits": job.cost_millicredits,
        "running_limit": job.running_limit,
        "operation_kind": job.operation_kind,
        "operation": b64encode(job.operation).decode(),
    }
    return serialize_job(FUNCTION_NAME, (), arguments, None, job.create_time_ms, serializer=serialize)


def decode_job(record: bytes) -> QueuedJob:
    """Returns the job of an arq record that `encode_job` made. Raises arq.jobs.DeserializationError."""
    _, _, arguments, _, create_time_ms = deserialize_job_raw(record, deserializer=deserialize)
    return QueuedJob(
        job_id=UUID(arguments["job_id"]),
        account_id=UUID(arguments["account_id"]),
        tier=arguments["tier"],
        model_id=arguments["model_id"],
        cost_millicredits=arguments["cost_millicredits"],
        running_limit=arguments["running_limit"],
        create_time_ms=create_time_ms,
        # Absent from what an earlier release has put into the queue.
        operation_kind=arguments.get("operation_kind", ""),
        operation=b64decode(arguments.get("operation", "")),
    )
