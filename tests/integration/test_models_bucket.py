"""The models bucket: what the catalogue takes from it, the addresses that workers get, and what a push puts there."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from pingvas.models.v1 import catalogue_service_pb2, model_pb2
from pingvas.models.v1.catalogue_service_pb2_grpc import CatalogueServiceStub

from studio.cli.failures import CommandError
from studio.cli.model_push import bucket_of, checked_manifest, upload
from studio.stack.connections import ObjectStoreConnection
from svc_common.clock import now
from svc_common.errors import Reason
from svc_models.domain.manifest import ManifestFile
from svc_models.servicer import StoredFiles
from svc_models.tasks.catalogue import CatalogueError
from tests.factories.models import lora_document, put_manifest
from tests.factories.stored_models import ModelsBucket, StoredModel, made_model, models_buckets, running_models
from tests.harness_postgres import DatabaseFactory, ServiceDatabase, until
from tests.harness_service import Identities, RunningService, refusal_of

SIZES = {"unet/weights.safetensors": 5000, "model_index.json": 20}


@pytest.fixture(scope="module")
def empty_buckets(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Iterator[ModelsBucket]]:
    with models_buckets(tmp_path_factory.mktemp("s3"), 40) as buckets:
        yield iter(buckets)


@pytest.fixture
def bucket(empty_buckets: Iterator[ModelsBucket]) -> ModelsBucket:
    return next(empty_buckets)


@pytest.fixture
async def database(database_for: DatabaseFactory) -> ServiceDatabase:
    return await database_for("models")


@dataclass(frozen=True, slots=True)
class Catalogue:
    """The internal listener of a svc_models."""

    stub: CatalogueServiceStub
    identities: Identities

    async def resolve(self, model_id: str = "") -> model_pb2.ModelSpec:
        request = catalogue_service_pb2.ResolveModelRequest(model_id=model_id)
        return await self.stub.ResolveModel(request, metadata=self.identities.as_service("gpu_worker"))

    async def locate(
        self, model_id: str, revision: str = "1", caller: str = "gpu_worker"
    ) -> catalogue_service_pb2.LocateModelFilesResponse:
        request = catalogue_service_pb2.LocateModelFilesRequest(model_id=model_id, revision=revision)
        return await self.stub.LocateModelFiles(request, metadata=self.identities.as_service(caller))

    async def has(self, model_id: str, revision: str = "1") -> bool:
        try:
            return (await self.resolve(model_id)).model.revision == revision
        except Exception:  # noqa: BLE001 - not there yet, whatever the refusal
            return False


def catalogue_of(service: RunningService, identities: Identities) -> Catalogue:
    return Catalogue(CatalogueServiceStub(service.internal), identities)


@pytest.fixture
async def catalogue(
    identities: Identities, database: ServiceDatabase, bucket: ModelsBucket
) -> AsyncIterator[Catalogue]:
    """A svc_models whose bucket has two revisions of one model."""
    for revision in ("1", "2"):
        await bucket.put(made_model("a", SIZES, revision=revision))
    async with running_models(identities, database, bucket) as service:
        yield catalogue_of(service, identities)


async def test_models_of_the_bucket_are_served_from_the_start(catalogue: Catalogue) -> None:
    spec = await catalogue.resolve()

    assert (spec.model.model_id, spec.model.revision) == ("a", "2")


async def test_addresses_give_the_files_also_in_parts_for_an_hour(catalogue: Catalogue) -> None:
    located = await catalogue.locate("a")

    contents = made_model("a", SIZES).contents
    assert [file.path for file in located.files] == list(contents)
    async with httpx.AsyncClient() as client:
        for file in located.files:
            assert (await client.get(file.url)).content == contents[file.path]
            part = await client.get(file.url, headers={"range": "bytes=5-9"})
            assert part.content == contents[file.path][5:10]
    lifetime = located.expire_time.ToDatetime(UTC) - now()
    assert timedelta(minutes=58) < lifetime <= timedelta(hours=1)


async def test_model_without_one_of_its_files_is_not_stored(catalogue: Catalogue, bucket: ModelsBucket) -> None:
    await bucket.take_file(made_model("a", SIZES).spec, "model_index.json")

    refusal = await refusal_of(catalogue.locate("a"))

    assert refusal.reason is Reason.MODEL_NOT_STORED
    assert refusal.metadata == {"model_id": "a", "path": "model_index.json"}


async def test_model_with_a_file_of_another_size_is_not_stored(catalogue: Catalogue, bucket: ModelsBucket) -> None:
    await bucket.put_file(made_model("a", SIZES).spec, "model_index.json", b"{}")

    assert (await refusal_of(catalogue.locate("a"))).reason is Reason.MODEL_NOT_STORED


@pytest.mark.parametrize(("model_id", "revision"), [("b", "1"), ("a", "3")])
async def test_revision_that_never_was_is_not_found(catalogue: Catalogue, model_id: str, revision: str) -> None:
    assert (await refusal_of(catalogue.locate(model_id, revision))).reason is Reason.MODEL_NOT_FOUND


@pytest.mark.parametrize("caller", ["svc_generation", "svc_user", "operator"])
async def test_only_workers_may_locate_files(catalogue: Catalogue, caller: str) -> None:
    assert (await refusal_of(catalogue.locate("a", caller=caller))).reason is Reason.CALLER_NOT_ALLOWED


async def test_what_was_seen_in_the_bucket_is_remembered_for_seconds(bucket: ModelsBucket) -> None:
    model, seconds = made_model("a", SIZES), [0.0]
    await bucket.put(model)
    files = [ManifestFile(file.path, file.size_bytes, file.sha256) for file in model.spec.files]
    stored_files = StoredFiles(
        bucket.objects, lambda: datetime(2026, 11, 20, tzinfo=UTC), monotonic_seconds=lambda: seconds[0]
    )

    located = await stored_files.locate("a", "a/1", files)
    await bucket.take_file(model.spec, "model_index.json")
    again = await stored_files.locate("a", "a/1", files)
    seconds[0] = 30.0
    with pytest.raises(Exception, match=r"has no 'model_index\.json'"):
        await stored_files.locate("a", "a/1", files)

    assert located.addresses.keys() == again.addresses.keys() == model.contents.keys()
    assert located.expire_time == datetime(2026, 11, 20, 1, tzinfo=UTC)


async def test_model_that_is_put_into_the_bucket_is_served_within_seconds(
    catalogue: Catalogue, bucket: ModelsBucket
) -> None:
    await bucket.put(made_model("a", SIZES, revision="3"))

    await until(lambda: catalogue.has("a", "3"), within_seconds=25.0)

    assert (await catalogue.locate("a", "1")).files, "workers may still have jobs of the old revision"


async def test_bad_manifests_of_the_bucket_are_passed_over(
    identities: Identities, database: ServiceDatabase, bucket: ModelsBucket
) -> None:
    good = made_model("good", SIZES)
    await bucket.put(good)
    await bucket.objects.write("broken/1/manifest.json", b"{", "application/json")
    await bucket.objects.write("elsewhere/1/manifest.json", good.manifest(), "application/json")
    await bucket.objects.write("good/1/unet/manifest.json", b"{", "application/json")

    async with running_models(identities, database, bucket) as service:
        catalogue = catalogue_of(service, identities)

        assert (await catalogue.resolve()).model.model_id == "good"
        for model_id in ("broken", "elsewhere"):
            assert (await refusal_of(catalogue.resolve(model_id))).reason is Reason.MODEL_NOT_FOUND


async def test_lora_is_served_as_what_it_is_and_never_by_default(
    identities: Identities, database: ServiceDatabase, bucket: ModelsBucket, tmp_path: Path
) -> None:
    put_manifest(tmp_path, **lora_document("a-lora"))
    cost = {"millicredits_per_megapixel_step": 1.0, "fixed_millicredits": 2, "upscale_millicredits_per_megapixel": 70.5}
    put_manifest(tmp_path, "b", operations=["inpaint", "upscale"], cost=cost)

    async with running_models(identities, database, bucket, tmp_path) as service:
        catalogue = catalogue_of(service, identities)
        lora, checkpoint, default = await asyncio.gather(*map(catalogue.resolve, ("a-lora", "b", "")))

    assert (lora.model.kind, list(lora.model.operations)) == (model_pb2.MODEL_KIND_LORA, [])
    assert (lora.model.family, lora.model.size_bytes, lora.model.native_width_px) == ("tiny", 1, 0)
    assert checkpoint.model.kind == model_pb2.MODEL_KIND_CHECKPOINT
    assert list(checkpoint.model.operations) == [model_pb2.OPERATION_INPAINT, model_pb2.OPERATION_UPSCALE]
    assert checkpoint.cost.upscale_per_megapixel_millicredits == 70.5
    assert default.model.model_id == "b"


async def test_manifest_of_a_folder_goes_before_that_of_the_bucket(
    identities: Identities, database: ServiceDatabase, bucket: ModelsBucket, tmp_path: Path
) -> None:
    await bucket.put(made_model("a", SIZES))
    put_manifest(tmp_path, "a", licence="of the folder")

    async with running_models(identities, database, bucket, tmp_path) as service:
        assert (await catalogue_of(service, identities).resolve("a")).model.licence == "of the folder"


async def test_default_may_be_a_model_of_the_bucket(
    identities: Identities, database: ServiceDatabase, bucket: ModelsBucket, tmp_path: Path
) -> None:
    await bucket.put(made_model("b", SIZES))
    put_manifest(tmp_path, "a")

    async with running_models(identities, database, bucket, tmp_path, default_model_id="b") as service:
        assert (await catalogue_of(service, identities).resolve()).model.model_id == "b"


async def test_default_that_is_nowhere_keeps_the_process_from_starting(
    identities: Identities, database: ServiceDatabase, bucket: ModelsBucket, tmp_path: Path
) -> None:
    put_manifest(tmp_path, "a")

    with pytest.raises(CatalogueError, match="DEFAULT_MODEL_ID can't be used: 'c' is none of the models"):
        async with running_models(identities, database, bucket, tmp_path, default_model_id="c"):
            pass


def connection_to(bucket: ModelsBucket) -> ObjectStoreConnection:
    server = bucket.server
    return ObjectStoreConnection(server.url, server.access_key, server.secret_key, models_bucket=bucket.name)


def model_folder(folder: Path, model: StoredModel) -> Path:
    for path, content in model.contents.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)
    (folder / "manifest.json").write_bytes(model.manifest())
    return folder


def test_push_sends_each_file_once_and_the_manifest_last(bucket: ModelsBucket, tmp_path: Path) -> None:
    model, said = made_model("pushed", SIZES), []
    folder = model_folder(tmp_path, model)
    store, manifest = bucket_of(connection_to(bucket)), checked_manifest(folder)

    first = upload(store, folder, manifest, said.append)
    again = upload(store, folder, manifest, said.append)

    assert (first, again) == (2, 0)
    assert said == [
        "unet/weights.safetensors  5,000 bytes",
        "model_index.json  20 bytes",
        "unet/weights.safetensors  is there",
        "model_index.json  is there",
    ]
    stored = {meta["path"]: meta["last_modified"] for page in store.list() for meta in page}
    assert max(stored, key=lambda path: stored[path]) == "pushed/1/manifest.json"
    for path, content in model.contents.items():
        assert store.get(f"pushed/1/{path}").bytes() == content


def test_push_sends_a_file_again_that_is_there_with_other_bytes(bucket: ModelsBucket, tmp_path: Path) -> None:
    model = made_model("pushed", SIZES)
    folder, store = model_folder(tmp_path, model), bucket_of(connection_to(bucket))
    path = "unet/weights.safetensors"
    store.put(f"pushed/1/{path}", bytes(5000))

    assert upload(store, folder, checked_manifest(folder), lambda _: None) == 2

    assert store.get(f"pushed/1/{path}").bytes() == model.contents[path]


async def test_pushed_model_is_located(catalogue: Catalogue, bucket: ModelsBucket, tmp_path: Path) -> None:
    folder = model_folder(tmp_path, made_model("pushed", SIZES))
    manifest = checked_manifest(folder)
    await asyncio.to_thread(upload, bucket_of(connection_to(bucket)), folder, manifest, lambda _: None)

    await until(lambda: catalogue.has("pushed"), within_seconds=25.0)

    assert len((await catalogue.locate("pushed")).files) == 2


def test_folder_whose_files_are_not_those_of_its_manifest_is_not_pushed(tmp_path: Path) -> None:
    folder = model_folder(tmp_path, made_model("pushed", SIZES))
    (folder / "model_index.json").write_bytes(b"changed".ljust(20))

    with pytest.raises(CommandError, match="is no model that can be used") as refused:
        checked_manifest(folder)

    assert "model_index.json does not have the SHA-256" in refused.value.details


def test_bad_manifest_is_not_pushed(tmp_path: Path) -> None:
    model = made_model("pushed", SIZES)
    folder = model_folder(tmp_path, model)
    (folder / "manifest.json").write_bytes(model.manifest(minimum_tier="gold"))

    with pytest.raises(CommandError, match=r"manifest\.json can't be used") as refused:
        checked_manifest(folder)

    assert "minimum_tier can't be used" in refused.value.details


def test_push_without_its_bucket_says_what_to_look_at(bucket: ModelsBucket, tmp_path: Path) -> None:
    folder = model_folder(tmp_path, made_model("pushed", SIZES))
    store = bucket_of(connection_to(ModelsBucket(bucket.server, "nowhere")))

    with pytest.raises(CommandError, match="did not take the model"):
        upload(store, folder, checked_manifest(folder), lambda _: None)
