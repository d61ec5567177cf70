"""GenerationAdminService: what administrators see of the queue and do to it.

What it shares with OperatorService is done by that; what only people may do is in the audit log before it is done.
"""

from collections.abc import Mapping
from typing import Final
from uuid import UUID

import structlog
from pingvas.generation.v1 import (
    generation_admin_service_pb2,
    generation_admin_service_pb2_grpc,
    job_pb2,
    operator_service_pb2,
)
from pingvas.user.v1.audit_event_pb2 import AuditEventKind

from svc_common.administration import AdministrationLog
from svc_common.caller import current_user
from svc_common.db import Database
from svc_common.tiers import tier_name
from svc_generation.domain.states import JobState, Requeueing, on_requeue
from svc_generation.messages.refusals import job_not_requeuable, no_such_job
from svc_generation.servicer.operator import OperatorServicer
from svc_generation.store import hot
from svc_generation.store.models import Job
from svc_generation.usecases.pausing import TierPauses
from svc_generation.usecases.requeueing import Requeuer

_log: Final = structlog.get_logger(__name__)


class GenerationAdminServicer(generation_admin_service_pb2_grpc.GenerationAdminServiceServicer):
    """Serves pingvas.generation.v1.GenerationAdminService."""

    def __init__(
        self,
        *,
        operator: OperatorServicer,
        database: Database,
        requeuer: Requeuer,
        pauses: TierPauses,
        log: AdministrationLog,
    ) -> None:
        """Takes what serves the same to the platform's tools, the tasks' database, and what is done for people alone."""
        self._operator = operator
        self._database = database
        self._requeuer = requeuer
        self._pauses = pauses
        self._administration = log

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

    async def RequeueJob(
        self, request: generation_admin_service_pb2.RequeueJobRequest, _context: object
    ) -> generation_admin_service_pb2.RequeueJobResponse:
        """Takes a job back that runs, unless the audit log couldn't be told."""
        job = await self._job(request.job_id)
        step = on_requeue(JobState(job.state))
        if step is Requeueing.REFUSE:
            raise job_not_requeuable(job.job_id, job.state)
        if step is Requeueing.TAKE_BACK:
            about = {"job_id": str(job.job_id), "worker": (job.worker_id or "")[:200], "attempt": str(job.attempt)}
            await self._record(AuditEventKind.AUDIT_EVENT_KIND_JOB_REQUEUED, about, account_id=str(job.account_id))
            taken = await self._requeuer.take_back(job.job_id, job.attempt)
            if taken is not None:
                job, worker_id = taken
                _log.info("job.requeued", job_id=request.job_id, worker_id=worker_id, by=str(current_user()))
                return _requeued(job, worker_id)
            # That attempt lost the job by itself in the meantime.
            job = await self._job(request.job_id)
        return _requeued(job)

    async def PauseTier(
        self, request: generation_admin_service_pb2.PauseTierRequest, _context: object
    ) -> generation_admin_service_pb2.PauseTierResponse:
        """Pauses a tier, unless the audit log couldn't be told."""
        name = tier_name(request.tier)
        about = {"tier": name, "reason": request.reason}
        await self._record(AuditEventKind.AUDIT_EVENT_KIND_TIER_PAUSED, about)
        is_changed = await self._pauses.pause(request.tier, reason=request.reason, by=current_user())
        _log.info("tier.paused", tier=name, reason=request.reason, by=str(current_user()))
        return generation_admin_service_pb2.PauseTierResponse(is_changed=is_changed)

    async def ResumeTier(
        self, request: generation_admin_service_pb2.ResumeTierRequest, _context: object
    ) -> generation_admin_service_pb2.ResumeTierResponse:
        """Lets a tier go on, unless the audit log couldn't be told."""
        name = tier_name(request.tier)
        await self._record(AuditEventKind.AUDIT_EVENT_KIND_TIER_RESUMED, {"tier": name})
        is_changed = await self._pauses.resume(request.tier)
        _log.info("tier.resumed", tier=name, by=str(current_user()))
        return generation_admin_service_pb2.ResumeTierResponse(is_changed=is_changed)

    async def _job(self, job_id: str) -> Job:
        job = await hot.find_job(self._database, UUID(job_id))
        if job is None:
            raise no_such_job(job_id)
        return job

    async def _record(self, kind: AuditEventKind.ValueType, about: Mapping[str, str], *, account_id: str = "") -> None:
        await self._administration.record(
            kind, {name: value for name, value in about.items() if value}, account_id=account_id
        )


def _requeued(job: Job, worker_id: str = "") -> generation_admin_service_pb2.RequeueJobResponse:
    return generation_admin_service_pb2.RequeueJobResponse(
        is_requeued=bool(worker_id), worker_id=worker_id, state=job_pb2.JobState.ValueType(job.state)
    )
