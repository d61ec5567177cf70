"""What comes after a render: pictures are looked at, encoded, stored and reported, while the GPU is at the next job.

Encoding begins in the render's thread, and each object is on its way as soon as it is encoded. Leaves the bytes to `encode`,
and what a report means to svc_generation.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Final

import structlog
from pingvas.worker.v1 import worker_service_pb2

from gpu_worker.attempt.failures import AttemptFailedError, NoRoomError
from gpu_worker.attempt.insisting import insist
from gpu_worker.attempt.interruption import unless_interrupted
from gpu_worker.attempt.messages import completion
from gpu_worker.attempt.preparation import PreparedJob
from gpu_worker.attempt.safety import SafetyHook
from gpu_worker.attempt.upload import Uploader, UploadError
from gpu_worker.claim.lease import Lease
from gpu_worker.pictures.encode import Artifact, encode_metadata, encode_original, encode_thumbnail
from gpu_worker.pictures.recipe import image_recipe
from gpu_worker.render.interface import RenderResult
from svc_common.errors import Reason, ServiceError

if TYPE_CHECKING:
    # The generated stubs tell the type checker of it; at run time one class serves both kinds of channel.
    from pingvas.worker.v1.worker_service_pb2_grpc import WorkerServiceAsyncStub

_log = structlog.get_logger(__name__)

_UPLOAD_AGAIN: Final = frozenset({Reason.ARTIFACT_MISSING, Reason.ARTIFACT_MISMATCH})
_UPLOAD_TRIES: Final = 3
_FIRST_PAUSE_SECONDS: Final = 0.5
_LONGEST_PAUSE_SECONDS: Final = 5.0
_MARGIN: Final = timedelta(minutes=1)
"""Before the addresses expire: an upload in progress must end before they do."""


@dataclass(frozen=True, slots=True)
class Pictures:
    """What a render has made, on its way to bytes."""

    result: RenderResult
    encodings: tuple[tuple[Future[Artifact], ...], ...]
    """Of each picture: original, thumbnail and metadata."""


class Deliverer:
    """Delivers the pictures of attempts."""

    def __init__(
        self,
        *,
        safety: SafetyHook,
        uploader: Uploader,
        service: "WorkerServiceAsyncStub",
        encode_pool: Executor,
        note_full: Callable[[], None] = lambda: None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """Takes the parts; `note_full` is called when the store says that it has no room."""
        self._safety = safety
        self._uploader = uploader
        self._service = service
        self._encode_pool = encode_pool
        self._note_full = note_full
        self._now = now

    def encode(self, job: PreparedJob, result: RenderResult) -> Pictures:
        """Begins to encode the pictures of a job; may be called in any thread, and returns at once."""
        encodings = []
        for image in result.images:
            recipe = image_recipe(job.spec, image, result, job.inputs)
            encodings.append(
                (
                    self._encode_pool.submit(encode_original, image.pixels, recipe),
                    self._encode_pool.submit(encode_thumbnail, image.pixels),
                    self._encode_pool.submit(encode_metadata, recipe),
                )
            )
        return Pictures(result, tuple(encodings))

    async def deliver(
        self,
        attempt: worker_service_pb2.Attempt,
        pictures: Pictures,
        lease: Lease,
        progress_told: Awaitable[object],
    ) -> None:
        """Stores the pictures and reports them; stores them again when the store turns out not to have what was sent.

        While the store is away, or has no room, the pictures are kept and tried again for as long as their addresses work.
        The report waits for `progress_told`: nobody hears of a step once the job has ended.

        Raises:
            AttemptFailedError: the safety policy refuses a picture, or the store took none.
            LeaseLostError: the lease was lost before the report was answered.
            NoRoomError: the store stayed away for as long as the addresses worked.
            StoppingError: the worker is stopping, and the store is away.
        """
        result = pictures.result
        for image in result.images:
            if (refusal := await self._safety.check_picture(image.pixels)) is not None:
                raise AttemptFailedError(Reason.CONTENT_REJECTED, refusal.message, result.gpu_seconds)
        for _ in range(_UPLOAD_TRIES):
            try:
                artifacts = await self._upload_when_possible(attempt, pictures, lease)
                await progress_told
                report = completion(attempt, result, artifacts)
                await insist(partial(self._service.CompleteAttempt, report), lease)
            except UploadError as error:
                _log.warning("job.upload_failed", job_id=attempt.job_id, error=str(error))
            except ServiceError as error:
                if error.reason not in _UPLOAD_AGAIN:
                    _log.warning("job.report_refused", job_id=attempt.job_id, error=str(error))
                    return
                _log.warning("job.upload_incomplete", job_id=attempt.job_id, error=str(error))
            else:
                return
        raise AttemptFailedError(
            Reason.STORAGE_FAILED, "The pictures couldn't be stored. Try again later.", result.gpu_seconds
        )

    async def _upload_when_possible(
        self, attempt: worker_service_pb2.Attempt, pictures: Pictures, lease: Lease
    ) -> list[list[Artifact]]:
        """Stores every object, however long the store is away or full; what was rendered is worth the wait."""
        pause = _FIRST_PAUSE_SECONDS
        while True:
            try:
                return await self._upload(attempt.slots, pictures)
            except UploadError as error:
                if not error.may_pass:
                    raise
                if error.is_full:
                    self._note_full()
                _log.warning("job.upload_waits", job_id=attempt.job_id, is_full=error.is_full, error=str(error))
                problem = error
            if attempt.HasField("expire_time") and self._now() + _MARGIN >= attempt.expire_time.ToDatetime(UTC):
                raise NoRoomError("the object store took nothing until the addresses expired") from problem
            try:
                await unless_interrupted(asyncio.sleep(pause), lease)
            except AttemptFailedError as cancelled:
                raise AttemptFailedError(None, gpu_seconds=pictures.result.gpu_seconds) from cancelled
            pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)

    async def _upload(self, slots: Sequence[worker_service_pb2.UploadSlot], pictures: Pictures) -> list[list[Artifact]]:
        """Stores every object, side by side; returns them in the slots' order."""
        return await asyncio.gather(
            *(
                asyncio.gather(
                    *(
                        self._put(url, encoding)
                        for url, encoding in zip(
                            (slot.original_url, slot.thumbnail_url, slot.metadata_url), of_image, strict=True
                        )
                    )
                )
                for slot, of_image in zip(slots, pictures.encodings, strict=True)
            )
        )

    async def _put(self, url: str, encoding: Future[Artifact]) -> Artifact:
        # Shielded: when another object's upload fails, this one is tried again as well, and its encoding still needed.
        artifact = await asyncio.shield(asyncio.wrap_future(encoding))
        await self._uploader.put(url, artifact)
        return artifact
