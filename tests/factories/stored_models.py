"""Makes models of random bytes, puts them into a models bucket, and runs svc_models over it."""

import hashlib
import json
import random
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from gpu_worker.models.files import ModelFile, ModelSpec
from svc_common.objects import S3ObjectStore
from svc_models.main import ModelsSettings, compose
from svc_models.tasks.catalogue import read_folders
from tests.factories.models import manifest_document
from tests.harness_postgres import ServiceDatabase
from tests.harness_s3 import REGION, S3Server
from tests.harness_service import Identities, RunningService, running, settings_values


@dataclass(frozen=True, slots=True)
class ModelsBucket:
    """A bucket of its own on the S3 server."""

    server: S3Server
    name: str

    @property
    def objects(self) -> S3ObjectStore:
        """A client of the bucket."""
        return S3ObjectStore(
            bucket=self.name,
            region=REGION,
            endpoint_url=self.server.url,
            signing_endpoint_url=self.server.url,
            access_key=self.server.access_key,
            secret_key=self.server.secret_key,
        )

    async def put_file(self, spec: ModelSpec, path: str, content: bytes) -> None:
        """Replaces an object of a model."""
        await self.objects.write(f"{spec.model_id}/{spec.revision}/{path}", content, "application/octet-stream")

    async def take_file(self, spec: ModelSpec, path: str) -> None:
        """Deletes an object of a model."""
        await self.objects.delete([f"{spec.model_id}/{spec.revision}/{path}"])

    async def put(self, model: "StoredModel") -> None:
        """Puts a model there, its manifest last."""
        for path, content in model.contents.items():
            await self.put_file(model.spec, path, content)
        await self.put_file(model.spec, "manifest.json", model.manifest())


@contextmanager
def models_buckets(folder: Path, count: int) -> Iterator[list[ModelsBucket]]:
    """Runs an S3 server of its own with so many empty buckets: made before its start, since it remembers folders."""
    server = S3Server(folder)
    buckets = [ModelsBucket(server, f"models-{number}") for number in range(count)]
    for bucket in buckets:
        (folder / "data" / bucket.name).mkdir(parents=True)
    server.start()
    try:
        yield buckets
    finally:
        server.stop()


@dataclass(frozen=True, slots=True)
class StoredModel:
    """A model as the worker knows it, and its bytes."""

    spec: ModelSpec
    contents: dict[str, bytes]

    def manifest(self, **changes: Any) -> bytes:
        """Returns its manifest.json."""
        files = [asdict(file) for file in self.spec.files]
        own = {"revision": self.spec.revision, "family": self.spec.family, "files": files}
        return json.dumps(manifest_document(self.spec.model_id, **(own | changes))).encode()


def made_model(model_id: str, sizes: dict[str, int] | None = None, *, revision: str = "1") -> StoredModel:
    """Returns a model with files of random bytes of these sizes, the same for the same id."""
    sizes = sizes or {"unet/weights.safetensors": 3_000_000, "vae/weights.safetensors": 700_000, "model_index.json": 90}
    source = random.Random(f"{model_id}@{revision}")
    contents = {path: source.randbytes(size) for path, size in sizes.items()}
    files = tuple(
        ModelFile(path, len(content), hashlib.sha256(content).hexdigest()) for path, content in contents.items()
    )
    return StoredModel(ModelSpec(model_id, revision, "tiny", files), contents)


@asynccontextmanager
async def running_models(
    identities: Identities, database: ServiceDatabase, bucket: ModelsBucket, *folders: Path, **own: Any
) -> AsyncIterator[RunningService]:
    """Runs svc_models over a bucket and folders; nobody pays, so only the internal listener is of use."""
    settings = ModelsSettings(
        **settings_values(
            identities,
            "svc_models",
            database,
            s3=bucket.server,
            models_bucket=bucket.name,
            catalogue_dirs=",".join(map(str, folders)),
            **own,
        )
    )
    async with running(compose(settings, read_folders(settings.catalogue_dirs))) as service:
        yield service
