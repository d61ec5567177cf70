"""LoRAs of an account's own: uploaded in parts, checked, put together, used by its jobs, and deleted."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

import httpx
import pytest
from pingvas.generation.v1 import model_use_service_pb2
from pingvas.generation.v1.job_pb2 import LoraWeight
from pingvas.generation.v1.model_use_service_pb2_grpc import ModelUseServiceStub
from pingvas.models.v1 import (
    catalogue_service_pb2,
    lora_erasure_service_pb2,
    lora_pb2,
    lora_service_pb2,
    model_service_pb2,
)
from pingvas.models.v1.catalogue_service_pb2_grpc import CatalogueServiceStub
from pingvas.models.v1.lora_erasure_service_pb2_grpc import LoraErasureServiceStub
from pingvas.models.v1.lora_service_pb2_grpc import LoraServiceStub
from pingvas.models.v1.model_service_pb2_grpc import ModelServiceStub

from svc_common.clock import new_id, now
from svc_common.db import Database
from svc_common.errors import Reason
from svc_common.object_keys import lora_prefix
from svc_common.own_models import own_lora_id
from svc_models.domain import loras as rules
from svc_models.main import ModelsSettings, compose
from svc_models.tasks.loras import LoraTasks
from tests.factories.actors import Operator, Person, WorkerClient
from tests.factories.own_loras import lora_bytes, overlapping
from tests.factories.platform import Platform
from tests.harness_postgres import until
from tests.harness_s3 import S3Server
from tests.harness_service import RunningService, refusal_of, running, settings_values

SMALL_PART = 5_000
"""The tests' parts, so that a small file has several."""


@dataclass(frozen=True, slots=True)
class Loras:
    """A svc_models beside the platform's own, which knows svc_generation, and its tasks with a clock of the tests."""

    platform: Platform
    service: RunningService
    s3: S3Server

    @property
    def stub(self) -> LoraServiceStub:
        return LoraServiceStub(self.service.public)

    async def create(self, person: Person, content: bytes, **fields: Any) -> lora_service_pb2.LoraUpload:
        values = {"display_name": "Ink", "family": "tiny", "size_bytes": len(content), **fields}
        request = lora_service_pb2.CreateLoraRequest(**values)
        return await self.stub.CreateLora(request, metadata=person.metadata)

    async def uploaded(self, person: Person, content: bytes, **fields: Any) -> str:
        """Opens an upload and sends every part of it."""
        upload = await self.create(person, content, **fields)
        await put(content, upload.parts)
        return upload.lora.model_id

    async def ready(self, person: Person, content: bytes, **fields: Any) -> str:
        """Returns a LoRA that can be used."""
        model_id = await self.uploaded(person, content, **fields)
        await self.complete(person, model_id)
        await until(lambda: self.has_ended(person, model_id))
        assert (await self.get(person, model_id)).state == lora_pb2.LORA_STATE_READY
        return model_id

    async def has_ended(self, person: Person, model_id: str) -> bool:
        return (await self.get(person, model_id)).state != lora_pb2.LORA_STATE_ASSEMBLING

    def get(self, person: Person, model_id: str) -> Any:
        return self.stub.GetLora(lora_service_pb2.GetLoraRequest(model_id=model_id), metadata=person.metadata)

    def upload_of(self, person: Person, model_id: str) -> Any:
        request = lora_service_pb2.GetLoraUploadRequest(model_id=model_id)
        return self.stub.GetLoraUpload(request, metadata=person.metadata)

    def check(self, person: Person, model_id: str) -> Any:
        return self.stub.CheckLora(lora_service_pb2.CheckLoraRequest(model_id=model_id), metadata=person.metadata)

    def complete(self, person: Person, model_id: str) -> Any:
        request = lora_service_pb2.CompleteLoraRequest(model_id=model_id)
        return self.stub.CompleteLora(request, metadata=person.metadata)

    def delete(self, person: Person, model_id: str) -> Any:
        return self.stub.DeleteLora(lora_service_pb2.DeleteLoraRequest(model_id=model_id), metadata=person.metadata)

    async def page(self, person: Person, **fields: Any) -> lora_service_pb2.ListLorasResponse:
        return await self.stub.ListLoras(lora_service_pb2.ListLorasRequest(**fields), metadata=person.metadata)

    async def model_ids(self, person: Person) -> list[str]:
        stub = ModelServiceStub(self.service.public)
        page = await stub.ListModels(model_service_pb2.ListModelsRequest(page_size=200), metadata=person.metadata)
        return [model.model_id for model in page.models if model.is_own]

    async def keys(self, person: Person, model_id: str) -> list[str]:
        """Returns the objects of a LoRA by what follows its prefix."""
        lora_id = own_lora_id(model_id)
        assert lora_id is not None
        prefix = lora_prefix(person.account_id, lora_id)
        return sorted([each.key.removeprefix(f"{prefix}/") async for each in self.s3.store().list_prefix(prefix)])

    async def swept(self, ahead: timedelta) -> None:
        """Does what the sweeps will do in a while."""
        database = Database(self.platform.databases["models"].tasks_url, pool_size=2)
        tasks = LoraTasks(database=database, objects=self.s3.store(), now=lambda: now() + ahead)
        try:
            for sweep in tasks.sweeps():
                await sweep.fn()
        finally:
            await database.close()


async def put(content: bytes, parts: Sequence[lora_service_pb2.LoraPart]) -> None:
    async with httpx.AsyncClient() as client:
        for part in parts:
            chunk = content[part.offset_bytes : part.offset_bytes + part.size_bytes]
            headers = {"content-type": rules.CONTENT_TYPE}
            (await client.put(part.put_url, content=chunk, headers=headers)).raise_for_status()


@pytest.fixture(scope="module")
async def loras(platform: Platform, s3_server: S3Server) -> AsyncIterator[Loras]:
    patch = pytest.MonkeyPatch()
    patch.setattr(rules, "PART_BYTES", SMALL_PART)
    values = settings_values(
        platform.identities,
        "svc_models",
        platform.databases["models"],
        s3=s3_server,
        redis_url=platform.redis_url,
        payment_internal_address=platform.neighbours["payment"].internal_address,
        generation_internal_address=platform.generation.service.internal_address,
    )
    async with running(compose(ModelsSettings(**values), ())) as service:
        yield Loras(platform, service, s3_server)
    patch.undo()


@pytest.fixture
async def owner(platform: Platform) -> Person:
    return await Person.arrive(platform, tier="studio")


@pytest.fixture
async def stranger(platform: Platform) -> Person:
    return await Person.arrive(platform, tier="studio")


async def test_upload_in_parts_becomes_a_model_of_its_owner_alone(
    loras: Loras, owner: Person, stranger: Person
) -> None:
    content = lora_bytes(filling=4 * SMALL_PART)
    upload = await loras.create(owner, content, trigger_words=["sumi-e"])
    assert len(upload.parts) > 4
    assert upload.lora.state == lora_pb2.LORA_STATE_UPLOADING

    await put(content, upload.parts[:1])
    checked = await loras.check(owner, upload.lora.model_id)
    assert (checked.module_count, checked.unmatched_module_count, checked.rank) == (2, 1, 4)
    rest = await loras.upload_of(owner, upload.lora.model_id)
    assert [part.offset_bytes for part in rest.parts] == [part.offset_bytes for part in upload.parts[1:]]
    missing = await refusal_of(loras.complete(owner, upload.lora.model_id))
    assert (missing.reason, missing.metadata["offset_bytes"]) == (Reason.LORA_PARTS_MISSING, str(SMALL_PART))
    assert await loras.model_ids(owner) == []

    await put(content, rest.parts)
    await loras.complete(owner, upload.lora.model_id)
    model_id = upload.lora.model_id
    await until(lambda: is_ready(loras, owner, model_id))
    assert await loras.model_ids(owner) == [model_id]
    assert await loras.model_ids(stranger) == []
    spec = await resolved(loras, model_id, owner.account_id)
    assert [(file.size_bytes, file.sha256) for file in spec.files] == [
        (len(content), hashlib.sha256(content).hexdigest())
    ]
    assert await located(loras, model_id, spec.model.revision) == content


async def is_ready(loras: Loras, person: Person, model_id: str) -> bool:
    return bool((await loras.get(person, model_id)).state == lora_pb2.LORA_STATE_READY)


async def resolved(loras: Loras, model_id: str, account_id: UUID | None) -> Any:
    account = "" if account_id is None else str(account_id)
    request = catalogue_service_pb2.ResolveModelRequest(model_id=model_id, account_id=account)
    metadata = loras.platform.identities.as_service("svc_generation")
    return await CatalogueServiceStub(loras.service.internal).ResolveModel(request, metadata=metadata)


async def located(loras: Loras, model_id: str, revision: str) -> bytes:
    """Fetches a file as a worker does."""
    request = catalogue_service_pb2.LocateModelFilesRequest(model_id=model_id, revision=revision)
    metadata = loras.platform.identities.as_service("gpu_worker")
    answer = await CatalogueServiceStub(loras.service.internal).LocateModelFiles(request, metadata=metadata)
    async with httpx.AsyncClient() as client:
        return (await client.get(answer.files[0].url)).raise_for_status().content


async def test_nobody_else_finds_a_lora_or_can_use_it(loras: Loras, owner: Person, stranger: Person) -> None:
    model_id = await loras.ready(owner, lora_bytes())
    calls = (loras.get, loras.check, loras.complete, loras.upload_of, loras.delete)
    assert {(await refusal_of(call(stranger, model_id))).reason for call in calls} == {Reason.MODEL_NOT_FOUND}
    assert (await refusal_of(resolved(loras, model_id, stranger.account_id))).reason is Reason.MODEL_NOT_FOUND
    assert (await refusal_of(resolved(loras, model_id, None))).reason is Reason.MODEL_NOT_FOUND
    assert not (await loras.page(stranger)).loras
    use = [LoraWeight(model_id=model_id)]
    assert (await refusal_of(stranger.create(loras=use))).reason is Reason.MODEL_NOT_FOUND
    # By its name in a prompt as well.
    assert (await refusal_of(stranger.create(f"a heron <lora:{model_id}:1>"))).reason is Reason.MODEL_NOT_FOUND


async def test_job_with_an_own_lora_gets_its_file_and_keeps_it_from_deletion(
    loras: Loras, owner: Person, worker: WorkerClient
) -> None:
    content = lora_bytes()
    model_id = await loras.ready(owner, content)
    job = await owner.create(loras=[LoraWeight(model_id=model_id, weight=0.5)])
    refusal = await refusal_of(loras.delete(owner, model_id))
    assert (refusal.reason, refusal.metadata["job_count"]) == (Reason.LORA_IN_USE, "1")

    attempt = await worker.start(job.job_id)
    assert [spec.model.model_id for spec in attempt.loras] == [model_id]
    assert await located(loras, model_id, attempt.loras[0].model.revision) == content
    assert (await refusal_of(loras.delete(owner, model_id))).reason is Reason.LORA_IN_USE

    await owner.cancel(job.job_id)
    assert await jobs_with(loras, owner, "own-nothing") == 0


async def jobs_with(loras: Loras, person: Person, model_id: str) -> int:
    stub = ModelUseServiceStub(loras.platform.generation.service.internal)
    request = model_use_service_pb2.CountLoraJobsRequest(account_id=str(person.account_id), model_id=model_id)
    metadata = loras.platform.identities.as_service("svc_models")
    return int((await stub.CountLoraJobs(request, metadata=metadata)).job_count)


async def test_deleted_lora_is_gone_at_once_and_its_objects_with_the_sweep(loras: Loras, owner: Person) -> None:
    model_id = await loras.ready(owner, lora_bytes(filling=SMALL_PART))
    job = await owner.create(loras=[LoraWeight(model_id=model_id)])
    await owner.cancel(job.job_id)
    await loras.delete(owner, model_id)
    assert (await refusal_of(loras.get(owner, model_id))).reason is Reason.MODEL_NOT_FOUND
    assert await loras.model_ids(owner) == []
    # Somebody may still put parts to the addresses of the upload, so its objects stay until they have expired.
    await loras.swept(timedelta(0))
    assert await loras.keys(owner, model_id)
    await loras.swept(rules.ADDRESS_LIFETIME + rules.LEASE)
    assert await loras.keys(owner, model_id) == []
    rows = await loras.platform.rows("models", "SELECT 1 FROM models.own_loras WHERE account_id = $1", owner.account_id)
    assert rows == []


async def test_bad_file_is_refused_by_its_first_part_and_nothing_of_it_stays(loras: Loras, owner: Person) -> None:
    content = overlapping().ljust(3 * SMALL_PART, b"\0")
    upload = await loras.create(owner, content)
    await put(content, upload.parts[:1])
    refusal = await refusal_of(loras.check(owner, upload.lora.model_id))
    assert (refusal.reason, refusal.metadata["cause"]) == (Reason.LORA_INVALID, "format")
    seen = await loras.get(owner, upload.lora.model_id)
    assert (seen.state, seen.refusal) == (lora_pb2.LORA_STATE_REFUSED, refusal.message)
    for call in (loras.check, loras.complete, loras.upload_of):
        again = await refusal_of(call(owner, upload.lora.model_id))
        assert (again.reason, again.metadata["state"]) == (Reason.LORA_STATE_CONFLICT, "refused")
    await loras.swept(rules.ADDRESS_LIFETIME)
    assert await loras.keys(owner, upload.lora.model_id) == []
    await loras.swept(rules.UPLOAD_LIFETIME + timedelta(minutes=1))
    assert (await refusal_of(loras.get(owner, upload.lora.model_id))).reason is Reason.MODEL_NOT_FOUND


async def test_first_part_that_is_missing_or_of_another_size_is_named(loras: Loras, owner: Person) -> None:
    content = lora_bytes(filling=SMALL_PART)
    upload = await loras.create(owner, content)
    assert (await refusal_of(loras.check(owner, upload.lora.model_id))).reason is Reason.LORA_PARTS_MISSING
    async with httpx.AsyncClient() as client:
        url, headers = upload.parts[0].put_url, {"content-type": rules.CONTENT_TYPE}
        for body in (content[: SMALL_PART - 1], content[: SMALL_PART + 1]):
            assert (await client.put(url, content=body, headers=headers)).status_code == httpx.codes.FORBIDDEN


async def test_part_that_is_put_anew_after_the_check_is_found_when_the_file_is_put_together(
    loras: Loras, owner: Person
) -> None:
    content = lora_bytes(filling=SMALL_PART)
    upload = await loras.create(owner, content)
    model_id = upload.lora.model_id
    await put(content, upload.parts)
    # The state in which it waits to be put together, without the background work's taking it up in between.
    lora_id = own_lora_id(model_id)
    lease = "UPDATE models.own_loras SET lease_until = $2 WHERE lora_id = $1"
    await loras.platform.rows("models", lease, lora_id, now() + timedelta(days=1))
    await loras.complete(owner, model_id)
    changed = bytearray(content)
    changed[8:12] = b"\x80\x02{}"
    await put(bytes(changed), upload.parts[:1])
    await loras.platform.rows("models", lease, lora_id, None)
    await until(lambda: loras.has_ended(owner, model_id))
    seen = await loras.get(owner, model_id)
    assert (seen.state, "safetensors" in seen.refusal) == (lora_pb2.LORA_STATE_REFUSED, True)
    assert not [key for key in await loras.keys(owner, model_id) if not key.startswith("parts/")]


async def test_attempt_that_died_is_followed_by_another_and_the_last_by_a_refusal(loras: Loras, owner: Person) -> None:
    model_id = await loras.uploaded(owner, lora_bytes())
    lora_id = own_lora_id(model_id)
    died = "UPDATE models.own_loras SET state = 2, attempt = $2, lease_until = $3 WHERE lora_id = $1"
    await loras.platform.rows("models", died, lora_id, 1, now() - timedelta(seconds=1))
    await until(lambda: is_ready(loras, owner, model_id))
    assert "2/lora.safetensors" in await loras.keys(owner, model_id)

    other = await loras.uploaded(owner, lora_bytes())
    await loras.platform.rows("models", died, own_lora_id(other), rules.MOST_ATTEMPTS, now() - timedelta(seconds=1))
    await loras.swept(timedelta(0))
    assert (await loras.get(owner, other)).state == lora_pb2.LORA_STATE_REFUSED


async def test_parts_are_deleted_once_nobody_can_put_them_and_the_file_stays(loras: Loras, owner: Person) -> None:
    model_id = await loras.ready(owner, lora_bytes(filling=SMALL_PART))
    await loras.swept(rules.ADDRESS_LIFETIME)
    assert await loras.keys(owner, model_id) == ["1/lora.safetensors"]


async def test_limit_of_the_tier_holds_for_calls_at_the_same_time(loras: Loras, owner: Person) -> None:
    content = lora_bytes()
    calls = (loras.create(owner, content) for _ in range(60))
    answers = await asyncio.gather(*calls, return_exceptions=True)
    opened = [answer for answer in answers if isinstance(answer, lora_service_pb2.LoraUpload)]
    assert len(opened) == 50
    refusal = await refusal_of(loras.create(owner, content))
    assert (refusal.reason, refusal.metadata) == (Reason.LORA_LIMIT_REACHED, {"limit": "50", "tier": "studio"})
    page = await loras.page(owner, page_size=30)
    assert (page.limit, page.count, len(page.loras)) == (50, 50, 30)
    rest = await loras.page(owner, page_size=30, page_token=page.next_page_token)
    seen = [lora.model_id for lora in (*page.loras, *rest.loras)]
    assert sorted(seen) == sorted(upload.lora.model_id for upload in opened)
    times = [lora.create_time.ToNanoseconds() for lora in (*page.loras, *rest.loras)]
    assert times == sorted(times, reverse=True)
    await loras.delete(owner, seen[0])
    await loras.create(owner, content)


async def test_tier_without_own_loras_opens_none_and_uses_none(loras: Loras, owner: Person, platform: Platform) -> None:
    model_id = await loras.ready(owner, lora_bytes())
    await Operator(platform).set_tier(owner.account_id, "pro")
    refusal = await refusal_of(loras.create(owner, lora_bytes()))
    assert (refusal.reason, refusal.metadata["limit"]) == (Reason.LORA_LIMIT_REACHED, "0")
    assert await loras.model_ids(owner) == []
    use = [LoraWeight(model_id=model_id)]
    assert (await refusal_of(owner.create(loras=use))).reason is Reason.LORA_LIMIT_REACHED
    # What is there can still be seen and deleted.
    assert [lora.model_id for lora in (await loras.page(owner)).loras] == [model_id]
    await loras.delete(owner, model_id)


async def test_repeated_request_opens_one_upload(loras: Loras, owner: Person) -> None:
    content = lora_bytes()
    first = await loras.create(owner, content, request_id="once")
    assert (await loras.create(owner, content, request_id="once")).lora.model_id == first.lora.model_id
    other = await refusal_of(loras.create(owner, content, request_id="once", display_name="Other"))
    assert other.reason is Reason.IDEMPOTENCY_KEY_REUSED
    unknown = await refusal_of(loras.create(owner, content, family="no-such-family"))
    assert unknown.reason is Reason.INVALID_FIELD


async def test_erasure_leaves_neither_objects_nor_rows(loras: Loras, owner: Person) -> None:
    model_id = await loras.ready(owner, lora_bytes())
    stub = LoraErasureServiceStub(loras.service.internal)
    request = lora_erasure_service_pb2.EraseLorasRequest(account_id=str(owner.account_id))
    metadata = loras.platform.identities.as_service("svc_user")
    while (await stub.EraseLoras(request, metadata=metadata)).has_more:
        pass
    assert await loras.keys(owner, model_id) == []
    assert not (await loras.page(owner)).loras
    assert (await refusal_of(loras.get(owner, f"own-{new_id()}"))).reason is Reason.MODEL_NOT_FOUND
