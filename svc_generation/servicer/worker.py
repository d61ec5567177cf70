"""The workers' service: begins attempts and takes their reports. What a report means is decided by `domain.states`."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from datetime import datetime
from typing import Any, TypeVar
from uuid import UUID

from pingvas.common.v1 import error_reason_pb2
from pingvas.generation.v1 import job_pb2
from pingvas.worker.v1 import worker_service_pb2 as worker
from pingvas.worker.v1 import worker_service_pb2_grpc

from svc_common.db import Database
from svc_common.errors import Reason, ServiceError, invalid_field
from svc_common.tiers import tier_name
from svc_generation.domain.objects import UPLOAD_LIFETIME
from svc_generation.domain.states import (
    AttemptOutcome,
    JobState,
    Standing,
    Step,
    accepts_report,
    after_failure,
    is_repeat_of_completion,
    on_claim,
)
from svc_generation.messages.jobs import timestamp
from svc_generation.messages.operations import parsed, put
from svc_generation.messages.refusals import attempt_fenced, job_not_runnable, no_such_job, tier_paused
from svc_generation.store import hot, queries, transitions
from svc_generation.store.models import Attempt, Job
from svc_generation.usecases.announcing import Announcer
from svc_generation.usecases.artifacts import Artifacts
from svc_generation.usecases.finalizing import Finalizer
from svc_generation.usecases.lookups import Lookups
from svc_generation.usecases.offering import Offering
from svc_generation.usecases.pausing import TierPauses
from svc_generation.usecases.waiting import WaitTimes

ResultT = TypeVar("ResultT")


class WorkerServicer(worker_service_pb2_grpc.WorkerServiceServicer):
    """Implements pingvas.worker.v1.WorkerService, over the tasks' database: a worker serves every account."""

    def __init__(
        self,
        *,
        database: Database,
        lookups: Lookups,
        artifacts: Artifacts,
        waits: WaitTimes,
        pauses: TierPauses,
        offering: Offering,
        finalizer: Finalizer,
        announcer: Announcer,
        now: Callable[[], datetime],
        new_id: Callable[[], UUID],
    ) -> None:
        """Takes the parts."""
        self._database = database
        self._lookups = lookups
        self._artifacts = artifacts
        self._waits = waits
        self._pauses = pauses
        self._offering = offering
        self._finalizer = finalizer
        self._announcer = announcer
        self._now = now
        self._new_id = new_id

    async def StartAttempt(self, request: worker.StartAttemptRequest, _context: object) -> worker.Attempt:
        """Begins the next attempt, or refuses the claim."""

        async def act(job: Job) -> tuple[Job, Step, Attempt | None]:
            step = on_claim(queries.standing(job), request.claim_id)
            if step is Step.START:
                # Redis may have forgotten the pause together with everything else; a sweep tells it within a second.
                if (await self._pauses.known()).present(job.tier):
                    raise tier_paused(job.job_id, tier_name(job.tier))
                return job, step, await self._start(job, request)
            if step is Step.REPEAT:
                return job, step, await hot.find_attempt(self._database, job.job_id, job.attempt)
            await self._close_unstarted(job, step)
            return job, step, None

        job, step, attempt = await self._decide(request.job_id, act)
        if attempt is None:
            raise await self._refusal(job, step)
        if step is not Step.START:
            return await self._attempt_message(job, attempt)
        _, message = await asyncio.gather(self._announcer.announce(job), self._attempt_message(job, attempt))
        return message

    async def CompleteAttempt(
        self, request: worker.CompleteAttemptRequest, _context: object
    ) -> worker.CompleteAttemptResponse:
        """Checks the objects, then moves the job to FINALIZING, then closes it."""
        # An account that is named is believed until the job has been read: by then its objects have been read as well.
        account_id = UUID(request.account_id) if request.account_id else await self._account_of(request.job_id)
        # The objects are read by threads below Python, so they go first.
        fault, found = await asyncio.gather(self._fault(account_id, request), self._found(request))
        while (job := await self._accept_completion(found, account_id, request, fault)) is None:
            found = await self._found(request)
        return worker.CompleteAttemptResponse(state=_message_state(await self._finalizer.finalize_or_defer(job)))

    async def FailAttempt(self, request: worker.FailAttemptRequest, _context: object) -> worker.FailAttemptResponse:
        """Decides what a failed or stopped attempt leads to."""
        reason = _reason(request.reason)

        async def act(job: Job) -> tuple[Job, JobState | None]:
            if job.attempt == request.attempt and job.state != JobState.RUNNING:
                # The attempt was reported before, and only the answer was lost.
                return job, None
            _require_heard(queries.standing(job), request.job_id, request.attempt)
            target = after_failure(queries.standing(job), reason)
            now = self._now()
            if target is JobState.QUEUED:
                await transitions.requeue(self._database, job, AttemptOutcome.FAILED, now)
            else:
                ending = transitions.Ending(target, request.gpu_milliseconds, reason, request.message)
                await transitions.close(self._database, job, ending, now)
            return job, target

        job, target = await self._decide(request.job_id, act)
        state = job.state if target is None else await self._after(job, target)
        return worker.FailAttemptResponse(state=_message_state(state))

    async def ReturnAttempt(
        self, request: worker.ReturnAttemptRequest, _context: object
    ) -> worker.ReturnAttemptResponse:
        """Puts a job that its worker couldn't finish back into the queue, without counting the attempt."""

        async def act(job: Job) -> Job:
            if job.state != JobState.QUEUED or job.attempt != request.attempt:
                _require_heard(queries.standing(job), request.job_id, request.attempt)
                await transitions.requeue(self._database, job, AttemptOutcome.RETURNED, self._now())
            return job

        job = await self._decide(request.job_id, act)
        return worker.ReturnAttemptResponse(state=_message_state(await self._after(job, JobState.QUEUED)))

    async def _decide(self, job_id: str, act: Callable[[Job], Awaitable[ResultT]]) -> ResultT:
        result = await transitions.decide(self._database, UUID(job_id), act)
        if result is None:
            raise no_such_job(job_id)
        return result

    async def _start(self, job: Job, request: worker.StartAttemptRequest) -> Attempt:
        now = self._now()
        attempt = await transitions.start(
            self._database,
            job,
            worker_id=request.worker_id,
            claim_id=request.claim_id,
            image_ids=[self._new_id() for _ in range(job.image_count)],
            now=now,
            upload_expire_time=now + UPLOAD_LIFETIME,
        )
        if attempt.attempt == 1:
            await self._waits.observe_start(job, now)
        return attempt

    async def _close_unstarted(self, job: Job, step: Step) -> None:
        now = self._now()
        if step is Step.CANCEL:
            await transitions.close(self._database, job, transitions.Ending(JobState.CANCELLED, 0), now)
        elif step is Step.GIVE_UP:
            message = (
                f"All {job.attempt - job.returned} attempts lost their worker. Try again, or with a smaller picture."
            )
            ending = transitions.Ending(JobState.FAILED, 0, Reason.WORKER_LOST, message)
            await transitions.close(self._database, job, ending, now)

    async def _refusal(self, job: Job, step: Step) -> ServiceError:
        state = JobState(job.state)
        if step in (Step.CANCEL, Step.GIVE_UP):
            state = await self._finalizer.finalize_or_defer(job)
        return job_not_runnable(job.job_id, state)

    async def _attempt_message(self, job: Job, attempt: Attempt) -> worker.Attempt:
        operation = parsed(job.operation_kind, job.operation)
        loras = () if isinstance(operation, job_pb2.Upscale) else operation.loras
        spec, *lora_specs = await asyncio.gather(
            self._lookups.model(job.model_id), *(self._lookups.model(lora.model_id, job.account_id) for lora in loras)
        )
        message = worker.Attempt(
            job_id=str(job.job_id),
            account_id=str(job.account_id),
            attempt=attempt.attempt,
            event_sequence=job.started_sequence or 0,
            model=spec,
            loras=lora_specs,
            source_url=await self._artifacts.source_address(job.source_key),
            mask_url=await self._artifacts.source_address(job.mask_key),
            slots=[await self._artifacts.slot(job.account_id, image_id) for image_id in attempt.image_ids],
            expire_time=timestamp(attempt.upload_expire_time),
        )
        put(message, operation)
        return message

    async def _account_of(self, job_id: str) -> UUID:
        """Returns whose job it is, for a worker that hasn't named the account."""
        job = await hot.find_job(self._database, UUID(job_id))
        if job is None:
            raise no_such_job(job_id)
        return job.account_id

    async def _found(self, request: worker.CompleteAttemptRequest) -> tuple[Job, Attempt | None] | None:
        return await hot.find_job_with_attempt(self._database, UUID(request.job_id), request.attempt)

    async def _fault(self, account_id: UUID, request: worker.CompleteAttemptRequest) -> ServiceError | None:
        """Returns what is wrong with the objects of a report. It is told to the attempt only that owns the job."""
        try:
            await self._artifacts.check(account_id, request.images)
        except ServiceError as error:
            return error
        return None

    async def _accept_completion(
        self,
        found: tuple[Job, Attempt | None] | None,
        account_id: UUID,
        request: worker.CompleteAttemptRequest,
        fault: ServiceError | None,
    ) -> Job | None:
        """Moves a job that has been read to FINALIZING; returns None if it has changed since."""
        if found is None or found[0].account_id != account_id:
            raise no_such_job(request.job_id)
        job, attempt = found
        if is_repeat_of_completion(queries.standing(job), request.attempt, _outcome(job)):
            return job
        _require_heard(queries.standing(job), request.job_id, request.attempt)
        _require_slots(attempt, request.images)
        if fault is not None:
            raise fault
        images = [_image_record(image) for image in request.images]
        ending = transitions.Ending(JobState.COMPLETED, request.gpu_milliseconds, images=images)
        try:
            await transitions.close(self._database, job, ending, self._now())
        except transitions.ChangedError:
            return None
        return job

    async def _after(self, job: Job, target: JobState) -> JobState:
        if target is JobState.QUEUED:
            await self._announcer.announce(job)
            await self._offering.offer([job])
            return target
        return await self._finalizer.finalize_or_defer(job)


def _message_state(state: int) -> job_pb2.JobState.ValueType:
    return job_pb2.JobState.ValueType(state)


def _outcome(job: Job) -> JobState | None:
    return None if job.outcome is None else JobState(job.outcome)


def _require_heard(job: Standing, job_id: str, attempt: int) -> None:
    if accepts_report(job, attempt):
        return
    if job.attempt == attempt and job.state is not JobState.QUEUED:
        raise job_not_runnable(job_id, job.state)
    raise attempt_fenced(job_id, attempt, job.attempt)


def _require_slots(attempt: Attempt | None, images: Iterable[worker.ReportedImage]) -> None:
    given = [] if attempt is None else [str(image_id) for image_id in attempt.image_ids]
    if [image.image_id for image in images] != given:
        raise invalid_field("images", "must be those of the attempt's slots, in their order")


def _reason(value: int) -> Reason | None:
    name = error_reason_pb2.ErrorReason.Name(value).removeprefix("ERROR_REASON_")  # type: ignore[arg-type]
    return None if name == "UNSPECIFIED" else Reason(name)


def _image_record(image: worker.ReportedImage) -> dict[str, Any]:
    return {
        "image_id": image.image_id,
        "width_px": image.width_px,
        "height_px": image.height_px,
        "seed": image.seed,
        "size_bytes": image.original.size_bytes,
        "sha256": image.original.sha256,
        **_partial_loras(image),
    }


def _partial_loras(image: worker.ReportedImage) -> dict[str, Any]:
    """Returns what a row says of LoRAs that were applied in part; nothing for nearly every picture."""
    loras = [
        {
            "model_id": lora.model_id,
            "applied_module_count": lora.applied_module_count,
            "total_module_count": lora.total_module_count,
        }
        for lora in image.partial_loras
    ]
    return {"partial_loras": loras} if loras else {}
