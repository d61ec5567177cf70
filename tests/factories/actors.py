"""Who calls svc_generation in its tests: a person with an account, a worker, and the operator. All through the real stubs."""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Self
from uuid import UUID

import httpx
from google.protobuf.message import Message
from pingvas.common.v1 import error_reason_pb2
from pingvas.gallery.v1 import gallery_service_pb2, image_pb2
from pingvas.gallery.v1.gallery_service_pb2_grpc import GalleryServiceStub
from pingvas.generation.v1 import generation_service_pb2, job_pb2
from pingvas.generation.v1.generation_service_pb2_grpc import GenerationServiceStub
from pingvas.payment.v1 import credit_service_pb2, ledger_service_pb2
from pingvas.payment.v1.credit_service_pb2_grpc import CreditServiceStub
from pingvas.payment.v1.ledger_service_pb2_grpc import LedgerServiceStub
from pingvas.worker.v1 import worker_service_pb2
from pingvas.worker.v1.worker_service_pb2_grpc import WorkerServiceStub

from svc_common.clock import new_id
from svc_common.errors import Reason
from svc_common.object_keys import image_key
from svc_generation.domain.objects import OBJECT_NAMES
from tests.factories.platform import Platform, Replica
from tests.factories.streams import Stream
from tests.harness_postgres import until
from tests.harness_service import Metadata

ENDED: Final = frozenset({job_pb2.JOB_STATE_COMPLETED, job_pb2.JOB_STATE_FAILED, job_pb2.JOB_STATE_CANCELLED})


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody with an account of their own; each is a stranger to the others."""

    platform: Platform
    account_id: UUID
    replica: Replica

    @classmethod
    async def arrive(cls, platform: Platform, *, credits_held: int = 1_000_000, tier: str = "free") -> Self:
        """Returns a new person on a tier, with millicredits to spend."""
        person = cls(platform, new_id(), platform.generation)
        operator = Operator(platform)
        if tier != "free":
            await operator.set_tier(person.account_id, tier)
        if credits_held:
            await operator.grant(person.account_id, credits_held)
        return person

    def at(self, replica: Replica) -> "Person":
        """Returns the same person, calling another replica."""
        return Person(self.platform, self.account_id, replica)

    @property
    def metadata(self) -> Metadata:
        return self.platform.identities.as_user(self.account_id)

    @property
    def _jobs(self) -> GenerationServiceStub:
        return GenerationServiceStub(self.replica.service.public)

    def quote(self, prompt: str = "a heron", **fields: Any) -> Any:
        request = generation_service_pb2.QuoteJobRequest(text_to_image=job_pb2.TextToImage(prompt=prompt, **fields))
        return self._jobs.QuoteJob(request, metadata=self.metadata)

    def create(
        self,
        prompt: str = "a heron",
        *,
        request_id: str = "",
        header: str = "",
        **fields: Any,
    ) -> Any:
        webhook = {name: fields.pop(name) for name in tuple(fields) if name.startswith("webhook_")}
        operation = job_pb2.TextToImage(prompt=prompt, **fields)
        request = generation_service_pb2.CreateJobRequest(request_id=request_id, text_to_image=operation, **webhook)
        extra = (("idempotency-key", header),) if header else ()
        return self._jobs.CreateJob(request, metadata=(*self.metadata, *extra))

    def quote_of(self, operation: Message) -> Any:
        request = generation_service_pb2.QuoteJobRequest(**{_branch(operation): operation})
        return self._jobs.QuoteJob(request, metadata=self.metadata)

    def submit(self, operation: Message, *, request_id: str = "") -> Any:
        """Creates a job of any operation."""
        request = generation_service_pb2.CreateJobRequest(request_id=request_id, **{_branch(operation): operation})
        return self._jobs.CreateJob(request, metadata=self.metadata)

    async def upload(self, content: bytes, content_type: str = "image/png") -> job_pb2.ImageSource:
        """Uploads a picture as a client does, and names it as the source of jobs."""
        stub = GalleryServiceStub(self.platform.gallery_channel)
        request = gallery_service_pb2.CreateUploadRequest(content_type=content_type, size_bytes=len(content))
        upload = await stub.CreateUpload(request, metadata=self.metadata)
        async with httpx.AsyncClient() as client:
            answer = await client.put(upload.put_url, content=content, headers={"content-type": content_type})
        answer.raise_for_status()
        return job_pb2.ImageSource(upload_id=upload.upload_id)

    def get(self, job_id: str) -> Any:
        return self._jobs.GetJob(generation_service_pb2.GetJobRequest(job_id=job_id), metadata=self.metadata)

    def page(self, **request: Any) -> Any:
        return self._jobs.ListJobs(generation_service_pb2.ListJobsRequest(**request), metadata=self.metadata)

    def cancel(self, job_id: str) -> Any:
        return self._jobs.CancelJob(generation_service_pb2.CancelJobRequest(job_id=job_id), metadata=self.metadata)

    def clear(self, **request: Any) -> Any:
        return self._jobs.ClearQueue(generation_service_pb2.ClearQueueRequest(**request), metadata=self.metadata)

    def queue_status(self) -> Any:
        return self._jobs.GetQueueStatus(generation_service_pb2.GetQueueStatusRequest(), metadata=self.metadata)

    def watch(self, job_id: str, after: str = "") -> Stream:
        request = generation_service_pb2.WatchJobRequest(job_id=job_id, after=after)
        return self._jobs.WatchJob(request, metadata=self.metadata)

    def watch_all(self, after: str = "") -> Stream:
        return self._jobs.WatchJobs(generation_service_pb2.WatchJobsRequest(after=after), metadata=self.metadata)

    async def balance(self) -> tuple[str, str]:
        """Returns what the person can spend and what is held, in credits."""
        stub = CreditServiceStub(self.platform.credits_channel)
        found = await stub.GetBalance(credit_service_pb2.GetBalanceRequest(), metadata=self.metadata)
        return found.available, found.held

    async def pictures(self, job_id: str) -> Sequence[image_pb2.Image]:
        """Returns what the gallery has of a job."""
        stub = GalleryServiceStub(self.platform.gallery_channel)
        request = gallery_service_pb2.ListImagesRequest(job_id=job_id)
        return (await stub.ListImages(request, metadata=self.metadata)).images

    async def ended(self, job_id: str, *, within_seconds: float = 15.0) -> job_pb2.Job:
        """Waits until a job has ended and returns it."""
        found = job_pb2.Job()

        async def has_ended() -> bool:
            found.CopyFrom(await self.get(job_id))
            return found.state in ENDED

        await until(has_ended, within_seconds=within_seconds)
        return found


def _branch(operation: Message) -> str:
    """Returns the name of an operation's branch: that of its class in lower case with underscores."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", type(operation).__name__).lower()


@dataclass(frozen=True, slots=True)
class Operator:
    """Who runs the platform."""

    platform: Platform

    async def grant(self, account_id: UUID, millicredits: int) -> None:
        request = ledger_service_pb2.GrantCreditsRequest(
            request_id=str(new_id()),
            account_id=str(account_id),
            kind=credit_service_pb2.GRANT_KIND_PURCHASED,
            amount_millicredits=millicredits,
        )
        await self._ledger.GrantCredits(request, metadata=self._metadata)

    async def set_tier(self, account_id: UUID, tier: str) -> None:
        request = ledger_service_pb2.SetTierRequest(account_id=str(account_id), tier=f"TIER_{tier.upper()}")
        await self._ledger.SetTier(request, metadata=self._metadata)

    async def breaches(self) -> Sequence[Any]:
        """Audits the ledger."""
        answer = await self._ledger.AuditLedger(ledger_service_pb2.AuditLedgerRequest(), metadata=self._metadata)
        return list(answer.breaches)

    async def assert_holds_match_jobs(self) -> None:
        """Asserts that credits are held for exactly the jobs that haven't ended, and that the audit is empty."""
        holds = await self.platform.rows("payment", "SELECT hold_id FROM payment.holds WHERE state = 'held'")
        jobs = await self.platform.rows("generation", "SELECT job_id FROM generation.jobs WHERE state < 4")
        assert {row["hold_id"] for row in holds} == {row["job_id"] for row in jobs}
        assert await self.breaches() == []

    @property
    def _ledger(self) -> LedgerServiceStub:
        return LedgerServiceStub(self.platform.ledger_channel)

    @property
    def _metadata(self) -> Metadata:
        return self.platform.identities.as_service("operator")


@dataclass(frozen=True, slots=True)
class WorkerClient:
    """Speaks with the workers' service as a worker does, one call at a time."""

    platform: Platform

    def start(self, job_id: str, claim_id: str = "worker-0:1") -> Any:
        request = worker_service_pb2.StartAttemptRequest(job_id=job_id, worker_id="worker-0", claim_id=claim_id)
        return self._service.StartAttempt(request, metadata=self._metadata)

    async def upload(self, attempt: worker_service_pb2.Attempt) -> list[worker_service_pb2.ReportedImage]:
        """Puts made-up objects to every slot of an attempt, and returns what is to be reported of them."""
        images = []
        async with httpx.AsyncClient() as client:
            for slot in attempt.slots:
                objects = []
                for url in (slot.original_url, slot.thumbnail_url, slot.metadata_url):
                    content = f"{slot.image_id} {len(objects)}".encode()
                    (await client.put(url, content=content)).raise_for_status()
                    objects.append(reported(content))
                images.append(picture(slot.image_id, *objects))
        return images

    def complete(
        self,
        attempt: worker_service_pb2.Attempt,
        images: Sequence[worker_service_pb2.ReportedImage],
        gpu_milliseconds: int = 1,
    ) -> Any:
        request = worker_service_pb2.CompleteAttemptRequest(
            job_id=attempt.job_id,
            account_id=attempt.account_id,
            attempt=attempt.attempt,
            gpu_milliseconds=gpu_milliseconds,
            images=images,
        )
        return self._service.CompleteAttempt(request, metadata=self._metadata)

    def fail(self, attempt: worker_service_pb2.Attempt, reason: Reason | None, gpu_milliseconds: int = 1) -> Any:
        value = error_reason_pb2.ErrorReason.Value(f"ERROR_REASON_{reason or 'UNSPECIFIED'}")
        request = worker_service_pb2.FailAttemptRequest(
            job_id=attempt.job_id,
            attempt=attempt.attempt,
            gpu_milliseconds=gpu_milliseconds,
            reason=value,
            message="It went wrong." if reason else "",
        )
        return self._service.FailAttempt(request, metadata=self._metadata)

    def give_back(self, attempt: worker_service_pb2.Attempt) -> Any:
        request = worker_service_pb2.ReturnAttemptRequest(job_id=attempt.job_id, attempt=attempt.attempt)
        return self._service.ReturnAttempt(request, metadata=self._metadata)

    async def objects(self, attempt: worker_service_pb2.Attempt) -> list[str]:
        """Returns the names of the objects that exist of an attempt's slots."""
        keys = [
            image_key(UUID(attempt.account_id), UUID(slot.image_id), name)
            for slot in attempt.slots
            for name in OBJECT_NAMES
        ]
        return [key for key in keys if await self.platform.objects.head(key) is not None]

    @property
    def _service(self) -> WorkerServiceStub:
        return WorkerServiceStub(self.platform.generation.service.internal)

    @property
    def _metadata(self) -> Metadata:
        return self.platform.identities.as_service("gpu_worker")


def reported(content: bytes) -> worker_service_pb2.ReportedObject:
    """Describes an object truly."""
    return worker_service_pb2.ReportedObject(size_bytes=len(content), sha256=hashlib.sha256(content).hexdigest())


def picture(image_id: str, *objects: worker_service_pb2.ReportedObject) -> worker_service_pb2.ReportedImage:
    """Describes an uploaded picture by its original, thumbnail and metadata."""
    original, thumbnail, metadata = objects
    return worker_service_pb2.ReportedImage(
        image_id=image_id,
        width_px=64,
        height_px=64,
        seed=7,
        original=original,
        thumbnail=thumbnail,
        metadata=metadata,
    )
