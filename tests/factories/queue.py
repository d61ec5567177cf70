"""Builds jobs for the queue, accounts by readable names, and a clock that stands still until it is moved."""

import itertools
from uuid import NAMESPACE_URL, UUID, uuid5

from pingvas.generation.v1 import job_pb2

from svc_common.queue import QueuedJob

START_MS = 1_790_000_000_000
_sequence = itertools.count()


class SettableClock:
    """Milliseconds since the epoch, as told."""

    def __init__(self, now_ms: int = START_MS) -> None:
        self.now_ms = now_ms

    def __call__(self) -> int:
        return self.now_ms


def account(name: str) -> UUID:
    """Returns the id of the account of that name, always the same one."""
    return uuid5(NAMESPACE_URL, f"account:{name}")


def queued_job(
    owner: str = "ann",
    *,
    tier: str = "free",
    model_id: str = "pingvas-tiny",
    cost_millicredits: int = 1000,
    running_limit: int = 1_000,
    create_time_ms: int | None = None,
) -> QueuedJob:
    """Returns a new job; without `create_time_ms` it is younger than all that were made before it."""
    number = next(_sequence)
    return QueuedJob(
        job_id=uuid5(NAMESPACE_URL, f"job:{number}"),
        account_id=account(owner),
        tier=tier,
        model_id=model_id,
        cost_millicredits=cost_millicredits,
        running_limit=running_limit,
        create_time_ms=START_MS + number if create_time_ms is None else create_time_ms,
    )


def record_of(job: job_pb2.Job, account_id: UUID, operation: job_pb2.TextToImage | None = None) -> QueuedJob:
    """Returns what the queue keeps of a job from a prompt, or of one that does something else."""
    return QueuedJob(
        job_id=UUID(job.job_id),
        account_id=account_id,
        tier="starter",
        model_id=job.text_to_image.model_id,
        cost_millicredits=1,
        running_limit=2,
        create_time_ms=job.create_time.ToMilliseconds(),
        operation_kind="text_to_image",
        operation=(operation or job.text_to_image).SerializeToString(),
    )
