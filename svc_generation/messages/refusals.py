"""What svc_generation refuses, in words. Refusals that are rules of prices and limits stand with their rule in `domain`."""

from datetime import timedelta
from typing import Final
from uuid import UUID

from pingvas.generation.v1 import job_pb2

from svc_common.errors import Reason, ServiceError
from svc_generation.domain.limits import TierFacts

_QUEUE_FULL_RETRY: Final = timedelta(seconds=5)


def no_such_job(job_id: UUID | str) -> ServiceError:
    """Returns the refusal of a job that isn't there, or that isn't the caller's: the two can't be told apart."""
    return ServiceError(Reason.JOB_NOT_FOUND, "There is no such job in this account.", metadata={"job_id": str(job_id)})


def no_such_worker(worker_id: str) -> ServiceError:
    """Returns the refusal of a worker that wasn't heard of."""
    return ServiceError(
        Reason.WORKER_NOT_FOUND,
        f"No worker {worker_id} was heard of lately.",
        metadata={"worker_id": worker_id},
    )


def job_already_ended(job_id: UUID, state: int) -> ServiceError:
    """Returns the refusal to cancel a job that has ended otherwise."""
    name = state_name(state)
    return ServiceError(
        Reason.JOB_ALREADY_ENDED,
        f"The job has ended as {name.removeprefix('JOB_STATE_').lower()}; there is nothing left to cancel.",
        metadata={"job_id": str(job_id), "state": name},
    )


def job_not_requeuable(job_id: UUID | str, state: int) -> ServiceError:
    """Returns the refusal to take a job back that no worker has in hand any more."""
    name = state_name(state)
    what = "its pictures are being stored" if name == "JOB_STATE_FINALIZING" else "it has ended"
    return ServiceError(
        Reason.JOB_NOT_REQUEUABLE,
        f"The job is {name.removeprefix('JOB_STATE_').lower()}: {what}, and no worker has it in hand any more.",
        metadata={"job_id": str(job_id), "state": name},
    )


def tier_paused(job_id: UUID | str, tier: str) -> ServiceError:
    """Returns the refusal of a worker's claim that Redis allowed before it knew of the tier's pause."""
    return ServiceError(
        Reason.JOB_NOT_RUNNABLE,
        f"The {tier} tier is paused: the job waits.",
        metadata={"job_id": str(job_id), "state": state_name(job_pb2.JOB_STATE_QUEUED)},
    )


def job_not_runnable(job_id: UUID | str, state: int) -> ServiceError:
    """Returns the refusal of a worker's claim or report of a job in a state in which it needs none."""
    name = state_name(state)
    return ServiceError(
        Reason.JOB_NOT_RUNNABLE,
        f"The job is {name}: it needs no attempt, and takes no report.",
        metadata={"job_id": str(job_id), "state": name},
    )


def attempt_fenced(job_id: UUID | str, attempt: int, current_attempt: int) -> ServiceError:
    """Returns the refusal of a report by a worker whose job was given to another one."""
    return ServiceError(
        Reason.ATTEMPT_FENCED,
        "Another attempt owns the job. Drop the result.",
        metadata={"job_id": str(job_id), "attempt": str(attempt), "current_attempt": str(current_attempt)},
    )


def queue_full(tier: TierFacts) -> ServiceError:
    """Returns the refusal of a job when as many wait as the tier lets wait."""
    return ServiceError(
        Reason.QUEUE_FULL,
        f"The {tier.tier_name} tier lets {tier.waiting_jobs} jobs wait at a time. Wait until one has started, or upgrade.",
        metadata={"tier": tier.tier_name, "limit": str(tier.waiting_jobs)},
        retry_after=_QUEUE_FULL_RETRY,
    )


def no_such_webhook(endpoint_id: str) -> ServiceError:
    """Returns the refusal of an endpoint or delivery that isn't there, or isn't the caller's."""
    return ServiceError(
        Reason.WEBHOOK_NOT_FOUND,
        "There is no such webhook endpoint or delivery in your account.",
        metadata={"endpoint_id": endpoint_id},
    )


def state_name(state: int) -> str:
    """Returns the contract's name of a state."""
    return job_pb2.JobState.Name(state)  # type: ignore[arg-type]
