"""Fetching models from a real S3 server, whose addresses a real svc_models gives, over a wire that holds and breaks."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import aiohttp
import httpx
import pytest
from pingvas.models.v1.catalogue_service_pb2_grpc import CatalogueServiceStub

from gpu_worker.attempt.model_download import ModelFetchError
from gpu_worker.attempt.model_fetch import ModelStore
from gpu_worker.attempt.object_client import open_client
from gpu_worker.models.files import FileVerifier, ModelFile, ModelFilesError, ModelSpec
from svc_common.clients import channel
from svc_models.servicer import stored_files
from tests.factories.stored_models import ModelsBucket, StoredModel, made_model, models_buckets, running_models
from tests.fakes.wire import Wire, wire_to
from tests.harness_postgres import DatabaseFactory
from tests.harness_service import Identities, RunningService

DEADLINE_SECONDS = 30.0
WEIGHTS = "unet/weights.safetensors"
ONE_FILE = {WEIGHTS: 4_000_000}
# A model for each test, as what one test does to the bucket or to what is remembered of it must not reach another.
MODELS = {
    "whole": None,
    "cut": ONE_FILE,
    "cancelled": ONE_FILE,
    "rotten-part": ONE_FILE,
    "corrupt": ONE_FILE,
    "expired": ONE_FILE,
    "incomplete": None,
    "huge": ONE_FILE,
    "shared": None,
    "killed": ONE_FILE,
    "damaged": None,
    "repaired": ONE_FILE,
    "changed": ONE_FILE,
}


@dataclass(frozen=True, slots=True)
class Library:
    """A bucket behind a wire, and the catalogue that gives addresses of it."""

    bucket: ModelsBucket
    wire: Wire
    service: RunningService
    catalogue: CatalogueServiceStub
    client: aiohttp.ClientSession
    models: Mapping[str, StoredModel]
    key_file: Path

    def store(self, models_dir: Path) -> ModelStore:
        return ModelStore(models_dir, self.catalogue, self.client)

    def gets(self) -> list[str]:
        return [line for line in self.wire.requests if line.startswith("GET ")]


@pytest.fixture(scope="module")
def bucket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModelsBucket]:
    with models_buckets(tmp_path_factory.mktemp("s3"), 1) as (bucket,):
        yield bucket


@pytest.fixture(scope="module")
async def library(
    bucket: ModelsBucket, database_for: DatabaseFactory, identities: Identities
) -> AsyncIterator[Library]:
    models = {name: made_model(name, sizes) for name, sizes in MODELS.items()}
    for model in models.values():
        await bucket.put(model)
    database = await database_for("models")
    async with (
        wire_to(bucket.server.port) as wire,
        running_models(identities, database, bucket, s3_public_endpoint_url=wire.url) as service,
        channel(service.internal_address, identities.credential("gpu_worker")) as catalogue,
        open_client(read_seconds=DEADLINE_SECONDS) as client,
    ):
        stub = CatalogueServiceStub(catalogue)
        yield Library(bucket, wire, service, stub, client, models, identities.key_file("gpu_worker"))


@pytest.fixture(autouse=True)
def _clear_wire(library: Library) -> None:
    library.wire.release()
    library.wire.requests.clear()


@pytest.fixture
def models_dir(tmp_path: Path) -> Path:
    return tmp_path / "models"


class Progress:
    """What a fetch told of itself."""

    def __init__(self) -> None:
        self.told: list[tuple[int, int]] = []

    def __call__(self, done: int, total: int) -> None:
        self.told.append((done, total))


def ignore(_done: int, _total: int) -> None:
    pass


def assert_whole(models_dir: Path, model: StoredModel) -> None:
    folder = model.spec.folder(models_dir)
    FileVerifier().verify(folder, model.spec.files)
    assert {path: (folder / path).read_bytes() for path in model.contents} == model.contents


def files_in(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def partial_of(models_dir: Path, spec: ModelSpec) -> Path:
    return spec.folder(models_dir / ".staging") / f"{WEIGHTS}.partial"


async def begun(fetch: "asyncio.Task[None]", wire: Wire) -> None:
    """Waits until the wire holds what a fetch asked for."""
    held = asyncio.ensure_future(wire.held.wait())
    await asyncio.wait({fetch, held}, timeout=DEADLINE_SECONDS, return_when=asyncio.FIRST_COMPLETED)
    assert held.done(), f"the fetch ended first: {fetch}"


async def test_missing_model_is_fetched_whole_with_progress(library: Library, models_dir: Path) -> None:
    model, progress = library.models["whole"], Progress()

    await library.store(models_dir).ensure(model.spec, progress)

    assert_whole(models_dir, model)
    assert progress.told == sorted(progress.told)
    assert progress.told[-1] == (model.spec.size_bytes, model.spec.size_bytes)
    assert files_in(models_dir / ".staging") == []


async def test_model_that_is_there_is_not_asked_for(library: Library, models_dir: Path) -> None:
    model, progress = library.models["whole"], Progress()
    await library.store(models_dir).ensure(model.spec, ignore)
    library.wire.requests.clear()

    await library.store(models_dir).ensure(model.spec, progress)

    assert (library.wire.requests, progress.told) == ([], [])


async def test_download_that_is_cut_goes_on_where_it_was(library: Library, models_dir: Path) -> None:
    model, before = library.models["cut"], library.wire.replied_bytes
    library.wire.cut_after(1_000_000, 1_000_000, 1_000_000)

    await library.store(models_dir).ensure(model.spec, ignore)

    assert_whole(models_dir, model)
    assert len(library.gets()) == 4
    # What was on its way when a connection was cut comes again, and nothing else.
    assert library.wire.replied_bytes - before < 1.2 * model.spec.size_bytes


async def test_cancelled_fetch_leaves_its_part_for_the_next_worker(library: Library, models_dir: Path) -> None:
    model = library.models["cancelled"]
    library.wire.hold_after(2_500_000)
    fetch = asyncio.create_task(library.store(models_dir).ensure(model.spec, ignore))
    await begun(fetch, library.wire)
    fetch.cancel()
    await asyncio.gather(fetch, return_exceptions=True)
    assert not model.spec.folder(models_dir).exists()
    part = partial_of(models_dir, model.spec).stat().st_size
    assert 1_000_000 < part < 4_000_000
    library.wire.release()
    before = library.wire.replied_bytes

    await library.store(models_dir).ensure(model.spec, ignore)

    assert_whole(models_dir, model)
    assert library.wire.replied_bytes - before < 4_000_000 - part + 600_000


async def test_part_that_rotted_is_thrown_away(library: Library, models_dir: Path) -> None:
    model = library.models["rotten-part"]
    part = partial_of(models_dir, model.spec)
    part.parent.mkdir(parents=True)
    part.write_bytes(b"\0" * 1000 + model.contents[WEIGHTS][1000:2_000_000])

    await library.store(models_dir).ensure(model.spec, ignore)

    assert_whole(models_dir, model)
    assert len(library.gets()) == 2


async def test_part_longer_than_the_file_is_thrown_away(library: Library, models_dir: Path) -> None:
    model = library.models["rotten-part"]
    part = partial_of(models_dir, model.spec)
    part.parent.mkdir(parents=True)
    part.write_bytes(model.contents[WEIGHTS] + b"more")

    await library.store(models_dir).ensure(model.spec, ignore)

    assert_whole(models_dir, model)


async def test_what_an_earlier_specification_left_does_not_come_into_the_folder(
    library: Library, models_dir: Path
) -> None:
    model = library.models["changed"]
    left = model.spec.folder(models_dir / ".staging") / "old.safetensors"
    left.parent.mkdir(parents=True)
    left.write_bytes(b"old")

    await library.store(models_dir).ensure(model.spec, ignore)

    assert_whole(models_dir, model)


async def test_corrupt_object_is_refused_after_a_few_tries_and_nothing_of_it_stays(
    library: Library, models_dir: Path
) -> None:
    model = library.models["corrupt"]
    content = bytearray(model.contents[WEIGHTS])
    content[123_456] ^= 1
    await library.bucket.put_file(model.spec, WEIGHTS, bytes(content))

    with pytest.raises(ModelFetchError, match="arrives with other bytes"):
        await library.store(models_dir).ensure(model.spec, ignore)

    assert len(library.gets()) == 3
    assert not model.spec.folder(models_dir).exists()
    assert not partial_of(models_dir, model.spec).exists()


async def test_addresses_that_expire_meanwhile_are_asked_for_again(
    library: Library, models_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = library.models["expired"]
    monkeypatch.setattr(stored_files, "_ADDRESS_LIFETIME", timedelta(seconds=2))
    library.wire.hold_after(1_500_000)
    fetch = asyncio.create_task(library.store(models_dir).ensure(model.spec, ignore))
    await begun(fetch, library.wire)
    first_address = library.gets()[0].split(" ")[1]
    await until_refused(f"{library.bucket.server.url}{first_address}", host=library.wire.url.removeprefix("http://"))
    library.wire.cut_all()
    library.wire.release()

    async with asyncio.timeout(DEADLINE_SECONDS):
        await fetch

    assert_whole(models_dir, model)
    assert len({line.split(" ")[1] for line in library.gets()}) == 2


async def until_refused(address: str, host: str) -> None:
    async with httpx.AsyncClient() as client, asyncio.timeout(DEADLINE_SECONDS):
        while (await client.get(address, headers={"host": host, "range": "bytes=0-0"})).is_success:  # noqa: ASYNC110
            await asyncio.sleep(0.1)


async def test_model_that_is_not_stored_is_refused_with_the_file_that_lacks(library: Library, models_dir: Path) -> None:
    model = library.models["incomplete"]
    await library.bucket.take_file(model.spec, "vae/weights.safetensors")

    with pytest.raises(ModelFetchError, match=r"vae/weights\.safetensors"):
        await library.store(models_dir).ensure(model.spec, ignore)


async def test_model_that_nobody_knows_is_refused(library: Library, models_dir: Path) -> None:
    with pytest.raises(ModelFetchError, match="unheard-of can't be fetched"):
        await library.store(models_dir).ensure(made_model("unheard-of").spec, ignore)


async def test_pickle_is_refused_before_a_byte_of_it_is_fetched(library: Library, models_dir: Path) -> None:
    spec = ModelSpec("whole", "1", "tiny", (ModelFile("unet/weights.bin", 5, "00" * 32),))

    with pytest.raises(ModelFilesError, match="weights must be safetensors"):
        await library.store(models_dir).ensure(spec, ignore)

    assert library.wire.requests == []


async def test_model_larger_than_the_disk_is_refused_before_it_is_fetched(library: Library, models_dir: Path) -> None:
    (file,) = library.models["huge"].spec.files
    spec = replace(library.models["huge"].spec, files=(replace(file, size_bytes=2**60),))

    with pytest.raises(ModelFetchError, match="no room for huge"):
        await library.store(models_dir).ensure(spec, ignore)

    assert library.wire.requests == []


async def test_folder_that_cannot_be_written_is_told(library: Library, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")

    with pytest.raises(ModelFetchError, match="huge can't be written: Not a directory"):
        await library.store(tmp_path / "file").ensure(library.models["huge"].spec, ignore)


async def test_two_stores_of_one_process_fetch_a_model_once(library: Library, models_dir: Path) -> None:
    model = library.models["shared"]

    await asyncio.gather(*(library.store(models_dir).ensure(model.spec, ignore) for _ in range(3)))

    assert_whole(models_dir, model)
    assert len(library.gets()) == len(model.spec.files)


class WorkerProcess:
    """A process that fetches a model, and the lines that it says."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    @classmethod
    async def start(cls, library: Library, models_dir: Path, model: StoredModel, **limits: Any) -> "WorkerProcess":
        settings = {
            "models_dir": str(models_dir),
            "catalogue": library.service.internal_address,
            "key_file": str(library.key_file),
            "model": asdict(model.spec),
            **limits,
        }
        return cls(
            await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "tests.fakes.fetching_worker",
                json.dumps(settings),
                stdout=asyncio.subprocess.PIPE,
                env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
            )
        )

    async def next_line(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        async with asyncio.timeout(DEADLINE_SECONDS):
            line: dict[str, Any] = json.loads(await self._process.stdout.readline())
        return line

    async def end(self) -> list[dict[str, Any]]:
        """Returns all that it still says."""
        assert self._process.stdout is not None
        async with asyncio.timeout(DEADLINE_SECONDS):
            said = await self._process.stdout.read()
            await self._process.wait()
        return [json.loads(line) for line in said.splitlines()]

    async def kill(self) -> None:
        self._process.kill()
        await self._process.wait()


async def test_two_workers_fetch_a_model_once_and_the_one_that_waits_sees_progress(
    library: Library, models_dir: Path
) -> None:
    model = library.models["shared"]
    library.wire.hold_after(1_500_000)
    first = await WorkerProcess.start(library, models_dir, model)
    async with asyncio.timeout(DEADLINE_SECONDS):
        await library.wire.held.wait()
    second = await WorkerProcess.start(library, models_dir, model)
    waiting = await second.next_line()
    library.wire.release()

    ends = [(await worker.end())[-1] for worker in (first, second)]

    assert 0 < waiting["done"] < waiting["total"] == model.spec.size_bytes
    assert ends == [{"ended": True}] * 2
    assert len(library.gets()) == len(model.spec.files)
    assert_whole(models_dir, model)


async def test_worker_takes_over_from_one_that_was_killed_and_resumes_its_download(
    library: Library, models_dir: Path
) -> None:
    model = library.models["killed"]
    library.wire.hold_after(2_500_000)
    first = await WorkerProcess.start(library, models_dir, model)
    async with asyncio.timeout(DEADLINE_SECONDS):
        await library.wire.held.wait()
    second = await WorkerProcess.start(library, models_dir, model)
    await second.next_line()  # it waits for the first
    part = partial_of(models_dir, model.spec).stat().st_size
    assert part >= 1_000_000
    await first.kill()
    library.wire.cut_all()
    library.wire.release()
    before = library.wire.replied_bytes

    said = await second.end()

    assert said[-1] == {"ended": True}
    assert_whole(models_dir, model)
    assert library.wire.replied_bytes - before < 4_000_000 - part + 600_000


async def test_worker_whose_disk_is_full_tells_it_and_leaves_nothing(library: Library, models_dir: Path) -> None:
    model = library.models["huge"]

    worker = await WorkerProcess.start(library, models_dir, model, largest_file_bytes=2_000_000)

    assert (await worker.end())[-1] == {"failed": "the models folder has no room for huge"}
    assert files_in(models_dir / ".staging") == []


async def test_damaged_model_is_refused_set_aside_and_fetched_again(library: Library, models_dir: Path) -> None:
    model, store = library.models["damaged"], library.store(models_dir)
    await store.ensure(model.spec, ignore)
    folder = model.spec.folder(models_dir)
    damaged = bytearray(model.contents[WEIGHTS])
    damaged[1000] ^= 1
    (folder / WEIGHTS).write_bytes(damaged)
    with pytest.raises(ModelFilesError, match=r"unet/weights\.safetensors does not have the SHA-256"):
        FileVerifier().verify(folder, model.spec.files)

    assert await store.quarantine(model.spec)

    (aside,) = (models_dir / ".quarantine").iterdir()
    assert aside.name.startswith("damaged-1-")
    assert (aside / WEIGHTS).read_bytes() == damaged
    await store.ensure(model.spec, ignore)
    assert_whole(models_dir, model)


async def test_model_that_another_worker_repaired_is_not_set_aside(library: Library, models_dir: Path) -> None:
    model = library.models["repaired"]
    one, other = library.store(models_dir), library.store(models_dir)
    for store in (one, other):
        await store.ensure(model.spec, ignore)
    (model.spec.folder(models_dir) / WEIGHTS).write_bytes(b"cut short")

    damaged = [await one.quarantine(model.spec), await other.quarantine(model.spec)]
    await one.ensure(model.spec, ignore)
    damaged.append(await other.quarantine(model.spec))

    assert damaged == [True, True, False]
    assert len(list((models_dir / ".quarantine").iterdir())) == 1
    await other.ensure(model.spec, ignore)
    assert_whole(models_dir, model)
