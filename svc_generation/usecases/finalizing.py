"""Closes jobs: pictures into the gallery, then credits settled or released, then the terminal state.

Each step is idempotent by the job's id, and the job stays FINALIZING until all are done; so a crash anywhere in between is
repaired by doing it again. A step that is refused for good lets the job end as FAILED, free of charge; `domain.finalizing`
says when that is.
"""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import structlog
from pingvas.gallery.v1 import import_service_pb2, import_service_pb2_grpc
from pingvas.payment.v1 import ledger_service_pb2, ledger_service_pb2_grpc
from prometheus_client import Counter

from svc_common.db import Database
from svc_common.errors import Reason, ServiceError
from svc_common.telemetry import FINALIZE_REFUSALS
from svc_common.tiers import tier_name
from svc_generation.domain.finalizing import Obstacle, is_given_up, obstacle, pause_after
from svc_generation.domain.states import JobState
from svc_generation.messages.operations import origin_of, parsed
from svc_generation.store import hot, transitions
from svc_generation.store.models import Job
from svc_generation.usecases.announcing import Announcer

_log = structlog.get_logger(__name__)

_ENDED: Final = Counter("jobs_ended_total", "Jobs that have ended.", ("tier", "outcome"))

_PNG = "image/png"
_REFUSED = (
    "The finished pictures could not be kept. Nothing was charged. Try again; if it fails again, report the job's id."
)
_REMEMBERED_TRIES = 10_000


class Finalizer:
    """Takes FINALIZING jobs to their end."""

    def __init__(
        self,
        *,
        database: Database,
        ledger: "ledger_service_pb2_grpc.LedgerServiceAsyncStub",
        gallery: "import_service_pb2_grpc.ImportServiceAsyncStub",
        announcer: Announcer,
        now: Callable[[], datetime],
    ) -> None:
        """Takes the tasks' database, and the stubs of the services that keep credits and pictures."""
        self._database = database
        self._ledger = ledger
        self._gallery = gallery
        self._announcer = announcer
        self._now = now
        self._tries: dict[UUID, int] = {}

    async def finalize_or_defer(self, job: Job | UUID) -> JobState:
        """Does what `finalize` does; what keeps the job from its end is logged, and the sweep tries again."""
        try:
            return await self.finalize(job)
        except Exception as error:  # noqa: BLE001 - whatever it is, it concerns this job only
            job_id = job.job_id if isinstance(job, Job) else job
            _log.warning("job.finalize_deferred", job_id=str(job_id), error=str(error))
            return JobState.FINALIZING

    async def finalize(self, job: Job | UUID) -> JobState:
        """Takes a job to its end and returns its state; one that isn't FINALIZING is left as it is.

        Args:
            job: the job as it has just been read, or its id.

        Raises:
            Exception: whatever keeps it from being closed; the job stays FINALIZING, and doing it again is safe. The sweep
                does it when the pause is over that has been noted.
        """
        found = job if isinstance(job, Job) else await hot.find_job(self._database, job)
        if found is None:
            return JobState.FAILED
        if found.state != JobState.FINALIZING:
            return JobState(found.state)
        try:
            outcome = await self._carry_out(found)
        except Exception as error:  # noqa: BLE001 - whatever it is, the job must come to an end
            outcome = await self._after_obstacle(found, error)
        self._tries.pop(found.job_id, None)
        return outcome

    async def _carry_out(self, job: Job) -> JobState:
        """Takes the steps, one after the other.

        The gallery comes first, because what was settled can't be given back: a job whose pictures it refuses must be free.
        """
        if job.outcome == JobState.COMPLETED:
            await self._import_images(job)
        elif job.images:  # it was given up, and the gallery may have its pictures
            await self._withdraw_images(job)
        return await self._end(job, await self._close_hold(job))

    async def _clear_up(self, job: Job) -> JobState:
        """Takes the steps of a job that was given up. What is away is waited for; what is refused is left to operators."""
        if job.images:
            async with _reported_refusal("job.withdrawal_refused", job):
                await self._withdraw_images(job)
        used = 0
        # A hold that is left lapses by itself.
        async with _reported_refusal("job.release_refused", job):
            used = await self._close_hold(job)
        return await self._end(job, used)

    async def _end(self, job: Job, used: int) -> JobState:
        outcome = JobState(job.outcome or JobState.FAILED)
        try:
            await transitions.end(self._database, job, used, self._now())
        except transitions.ChangedError:
            return await self._after_change(job)
        await self._announcer.announce(job)
        _ENDED.labels(tier_name(job.tier), outcome.name.lower()).inc()
        _log.info("job.ended", job_id=str(job.job_id), outcome=outcome.name, used_millicredits=used)
        return outcome

    async def _after_change(self, job: Job) -> JobState:
        """Follows another call, which has ended the job or given it up: then the pictures imported here go out again."""
        now = await hot.find_job(self._database, job.job_id)
        if now is None:
            return JobState.FAILED
        if job.outcome == JobState.COMPLETED and now.outcome == JobState.FAILED:
            await self._withdraw_images(job)
        return JobState(now.outcome or now.state)

    async def _after_obstacle(self, job: Job, error: Exception) -> JobState:
        """Gives the job up if that is due, and closes it then; else notes the pause before the next try, and raises."""
        tries = self._count_try(job.job_id)
        found = obstacle(error)
        now = self._now()
        if is_given_up(found, tries, now, job.deadline_time):
            FINALIZE_REFUSALS.labels(found.name.lower()).inc()
            _log.error("job.finalize_refused", job_id=str(job.job_id), tries=tries, exc_info=error)
            return await self._give_up_closing(job, tries)
        await self._note_pause(job, found, tries)
        raise error

    async def _give_up_closing(self, job: Job, tries: int) -> JobState:
        """Ends a job as FAILED; if even that is impossible now, notes a pause, and raises."""
        try:
            if not (job.outcome == JobState.FAILED and job.gpu_milliseconds == 0):
                await transitions.give_up(self._database, job, Reason.STORAGE_FAILED, _REFUSED, self._now())
            return await self._clear_up(job)
        except transitions.ChangedError:
            return await self._after_change(job)
        except Exception as error:
            await self._note_pause(job, obstacle(error), tries)
            raise

    def _count_try(self, job_id: UUID) -> int:
        """Returns how many tries to close the job have come to nothing in this process.

        Only jobs that another replica ends leave their count here, so it is enough to forget all when there are too many.
        """
        if len(self._tries) > _REMEMBERED_TRIES:
            self._tries.clear()
        self._tries[job_id] = self._tries.get(job_id, 0) + 1
        return self._tries[job_id]

    async def _note_pause(self, job: Job, found: Obstacle, tries: int) -> None:
        """Lets the sweep wait; without the database it waits as long as it does after every try."""
        with suppress(ServiceError):
            wait_from = self._now() + pause_after(found, tries)
            await transitions.touch_finalizing(self._database, job.job_id, wait_from)

    async def _import_images(self, job: Job) -> None:
        request = import_service_pb2.ImportImagesRequest(
            account_id=str(job.account_id),
            created_by=str(job.created_by),
            job_id=str(job.job_id),
            model_id=job.model_id,
            images=[_imported(image) for image in job.images],
            **origin_of(parsed(job.operation_kind, job.operation)),
        )
        await self._gallery.ImportImages(request)

    async def _withdraw_images(self, job: Job) -> None:
        key = {"job_id": str(job.job_id), "account_id": str(job.account_id)}
        await self._gallery.WithdrawImages(import_service_pb2.WithdrawImagesRequest(**key))

    async def _close_hold(self, job: Job) -> int:
        """Settles or releases the hold, and returns what the job costs. A hold that is closed already stays as it is."""
        try:
            return await self._settle(job)
        except ServiceError as error:
            if error.reason is not Reason.HOLD_CLOSED:
                raise
            # A released one lapsed, since closing the job was impossible for an hour past its deadline. The pictures are
            # made, the credits are back with their owner, and a job that never ends would help nobody.
            settled = int(error.metadata.get("settled_millicredits", "0"))
            billed = job.gpu_milliseconds
            _log.error("job.hold_was_closed", job_id=str(job.job_id), billed_millicredits=billed, settled=settled)
            return settled

    async def _settle(self, job: Job) -> int:
        key = {"hold_id": str(job.job_id), "account_id": str(job.account_id)}
        # The job can't record that it cost more than was held for it.
        billed = min(job.gpu_milliseconds, job.held_millicredits)
        if billed > 0:
            settle = ledger_service_pb2.SettleCreditsRequest(amount_millicredits=billed, **key)
            return (await self._ledger.SettleCredits(settle)).settled_millicredits
        await self._ledger.ReleaseCredits(ledger_service_pb2.ReleaseCreditsRequest(**key))
        return 0


def _imported(image: Mapping[str, Any]) -> import_service_pb2.ImportedImage:
    """Writes a picture of a row for the gallery, which doesn't keep what is said of its LoRAs."""
    kept = {name: value for name, value in image.items() if name != "partial_loras"}
    return import_service_pb2.ImportedImage(content_type=_PNG, **kept)


@asynccontextmanager
async def _reported_refusal(event: str, job: Job) -> AsyncIterator[None]:
    """Reports what is raised within to the operators, and goes on behind the block, unless a part is away."""
    try:
        yield
    except Exception as error:
        if obstacle(error) is Obstacle.AWAY:
            raise
        _log.error(event, job_id=str(job.job_id), exc_info=error)
