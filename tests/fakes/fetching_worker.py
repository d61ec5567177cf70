"""A worker process that does nothing but fetch a model, for tests that kill it: `python -m tests.fakes.fetching_worker`.

Its one argument is a JSON object; it prints a line of JSON for each progress and at the end.
"""

import asyncio
import json
import resource
import sys
from pathlib import Path
from typing import Any

import structlog
from pingvas.models.v1.catalogue_service_pb2_grpc import CatalogueServiceStub

from gpu_worker.attempt.model_fetch import ModelStore
from gpu_worker.attempt.object_client import open_client
from gpu_worker.models.files import ModelFile, ModelFilesError, ModelSpec
from svc_common.clients import channel
from svc_common.tokens import ServiceCredential


def say(**line: Any) -> None:
    """Prints a line at once."""
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


def spec_of(document: dict[str, Any]) -> ModelSpec:
    """Returns the model of the argument."""
    files = tuple(ModelFile(**file) for file in document["files"])
    return ModelSpec(document["model_id"], document["revision"], document["family"], files)


async def fetch(settings: dict[str, Any]) -> None:
    """Fetches the model, telling how it goes."""
    credential = ServiceCredential.from_file("gpu_worker", Path(settings["key_file"]))
    async with channel(settings["catalogue"], credential) as catalogue, open_client() as client:
        store = ModelStore(Path(settings["models_dir"]), CatalogueServiceStub(catalogue), client)
        try:
            await store.ensure(spec_of(settings["model"]), lambda done, total: say(done=done, total=total))
        except ModelFilesError as error:
            say(failed=str(error))
        else:
            say(ended=True)


def main() -> None:
    """Fetches, with files no larger than the argument allows."""
    settings = json.loads(sys.argv[1])
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    if settings.get("largest_file_bytes"):
        resource.setrlimit(resource.RLIMIT_FSIZE, (settings["largest_file_bytes"],) * 2)
    asyncio.run(fetch(settings))


if __name__ == "__main__":
    main()
