"""Takes a running job back from its worker, for an administrator who doesn't trust it."""

from collections.abc import Callable
from datetime import datetime
from uuid import UUID

from svc_common.db import Database
from svc_generation.domain.states import AttemptOutcome, JobState, Requeueing, on_requeue
from svc_generation.messages.refusals import job_not_requeuable
from svc_generation.store import transitions
from svc_generation.store.models import Job
from svc_generation.usecases.announcing import Announcer
from svc_generation.usecases.offering import Offering


class Requeuer:
    """Takes jobs back."""

    def __init__(
        self, *, database: Database, offering: Offering, announcer: Announcer, now: Callable[[], datetime]
    ) -> None:
        """Takes the tasks' database and who is to hear of it."""
        self._database = database
        self._offering = offering
        self._announcer = announcer
        self._now = now

    async def take_back(self, job_id: UUID, attempt: int) -> tuple[Job, str] | None:
        """Queues a job again and returns it, with the worker that had it; None if that attempt has it no more.

        The commit decides: from then on the attempt's reports are refused. The lease in Redis is ended after it, so that the
        worker stops at its next renewal and another one may claim the job at once. Raises ServiceError for a job that has
        ended meanwhile.
        """

        async def act(job: Job) -> tuple[Job, str, str] | None:
            step = on_requeue(JobState(job.state))
            if step is Requeueing.REFUSE:
                raise job_not_requeuable(job_id, job.state)
            if step is Requeueing.WAITS or job.attempt != attempt:
                return None
            claim_id, worker_id = job.claim_id or "", job.worker_id or ""
            await transitions.requeue(self._database, job, AttemptOutcome.RETURNED, self._now())
            return job, claim_id, worker_id

        taken = await transitions.decide(self._database, job_id, act)
        if taken is None:
            return None
        job, claim_id, worker_id = taken
        await self._announcer.announce(job)
        await self._offering.take_back(job, claim_id)
        return job, worker_id
