"""The models folder that workers share: a missing model is fetched once, by one of them; a damaged one is set aside.

Owns the folder's layout (`<model>/<revision>/` complete models, `.staging` what is being fetched, `.quarantine` what was
damaged, `.locks`), who fetches, and the progress that waiting workers see. A model appears under its name by one rename,
so a folder that is there was complete. Leaves single files to `model_download`, and the check at load to `model_files`.
"""

import asyncio
import contextlib
import errno
import os
import shutil
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

import aiohttp
import structlog
from filelock import FileLock, Timeout
from pingvas.models.v1.catalogue_service_pb2 import LocateModelFilesRequest

from gpu_worker.attempt.model_download import PARTIAL_SUFFIX, FileDownload, ModelFetchError, in_thread
from gpu_worker.models.files import ModelFile, ModelFilesError, ModelSpec, refuse_unsafe_files, verify_files
from svc_common.errors import Reason, ServiceError

if TYPE_CHECKING:
    # The generated stubs tell the type checker of it; at run time one class serves both kinds of channel.
    from pingvas.models.v1.catalogue_service_pb2_grpc import CatalogueServiceAsyncStub

_log = structlog.get_logger(__name__)

Progress = Callable[[int, int], None]

_FILES_AT_ONCE: Final = 4
_POLL_SECONDS: Final = 0.5
_REPORT_SECONDS: Final = 0.2
_NO_ROOM: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_TAKEN: Final = frozenset({errno.ENOTEMPTY, errno.EEXIST})


class NoRoomForModelError(ModelFetchError):
    """The models' folder has no room for a model. It may have some later, and other workers have folders of their own."""


class ModelStore:
    """The models folder as one worker uses it. Everything runs on the event loop, with the disk in threads."""

    def __init__(
        self,
        models_dir: Path,
        catalogue: "CatalogueServiceAsyncStub",
        client: aiohttp.ClientSession,
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        monotonic_seconds: Callable[[], float] = time.monotonic,
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """Takes the shared folder, the stub of svc_models, and a client from `object_client`."""
        self._models_dir = models_dir
        self._catalogue = catalogue
        self._client = client
        self._now = now
        self._monotonic_seconds = monotonic_seconds
        self._pause = pause
        self._present: set[ModelSpec] = set()  # asked for again with each job

    async def ensure(self, model: ModelSpec, on_progress: Progress) -> None:
        """Returns when the model's folder is there, fetching it or waiting for the worker that does.

        `on_progress` gets the bytes that are there and those that there will be; it isn't called for a model that is
        there already. The files are not read: whoever loads the model checks them. A cancelled fetch leaves what has
        arrived, and the next one goes on from it.

        Raises:
            NoRoomForModelError: the disk is full.
            ModelFetchError: the bucket lacks a file, or what arrives is corrupt each time.
            ModelFilesError: the specification names files that no model may have.
            ServiceError: the catalogue doesn't answer.
        """
        if model in self._present:
            return
        refuse_unsafe_files(model.files)
        folder = model.folder(self._models_dir)
        try:
            if not await in_thread(folder.is_dir):
                await self._fetch_or_wait(model, folder, _Reporter(model, on_progress, self._monotonic_seconds))
        except OSError as error:
            if error.errno in _NO_ROOM:
                raise NoRoomForModelError(f"the models folder has no room for {model.model_id}") from error
            raise ModelFetchError(f"{model.model_id} can't be written: {error.strerror}") from error
        self._present.add(model)

    async def quarantine(self, model: ModelSpec) -> bool:
        """Sets a folder that fails its check aside, so that the next `ensure` fetches the model anew.

        Returns False, and moves nothing, when the files are good. True may also mean that another worker has set them
        aside before.

        Raises:
            ModelFetchError: the folder can't be moved.
        """
        self._present.discard(model)
        folder = model.folder(self._models_dir)
        name = f"{model.model_id}-{model.revision}-{self._now():%Y%m%dT%H%M%S.%fZ}"
        aside = self._models_dir / ".quarantine" / name
        try:
            async with self._exclusive(model):
                if not await in_thread(folder.is_dir):
                    return True
                problem = await in_thread(_problem_of, folder, model.files)
                if problem is not None:
                    await in_thread(_move, folder, aside)
        except OSError as error:
            raise ModelFetchError(f"{model.model_id} can't be set aside: {error.strerror}") from error
        if problem is not None:
            _log.error("model.quarantined", model_id=model.model_id, problem=problem, to=str(aside))
        return problem is not None

    @contextlib.asynccontextmanager
    async def _exclusive(
        self,
        model: ModelSpec,
        unless: Callable[[], bool] = lambda: False,
        meanwhile: Callable[[], Awaitable[None]] | None = None,
    ) -> AsyncIterator[None]:
        """Holds the lock of the model, waiting for it; without it once `unless` is so."""
        lock = lock_of(self._models_dir / ".locks" / model.model_id / model.revision)
        try:
            # Looked at again and again: a blocking lock would need a thread that can't be cancelled.
            while not await in_thread(_try_acquire, lock) and not await in_thread(unless):
                if meanwhile is not None:
                    await meanwhile()
                await self._pause(_POLL_SECONDS)
            yield
        finally:
            lock.release()

    async def _fetch_or_wait(self, model: ModelSpec, folder: Path, report: "_Reporter") -> None:
        async def report_staged() -> None:
            report.all_have(await in_thread(_staged_bytes, self._staging(model), model.files))

        async with self._exclusive(model, unless=folder.is_dir, meanwhile=report_staged):
            if not await in_thread(folder.is_dir):
                await self._fetch(model, folder, report)

    async def _fetch(self, model: ModelSpec, folder: Path, report: "_Reporter") -> None:
        staging = self._staging(model)
        _log.info("model.fetching", model_id=model.model_id, revision=model.revision, size_bytes=model.size_bytes)
        try:
            await in_thread(_prepare, staging, model)
            await self._download(model, staging, report)
            await in_thread(_publish, staging, folder)
        except OSError as error:
            if error.errno not in _NO_ROOM:
                raise
            await in_thread(shutil.rmtree, staging, ignore_errors=True)
            raise NoRoomForModelError(f"the models folder has no room for {model.model_id}") from error
        _log.info("model.fetched", model_id=model.model_id, revision=model.revision, size_bytes=model.size_bytes)

    async def _download(self, model: ModelSpec, staging: Path, report: "_Reporter") -> None:
        addresses = _LocatedAddresses(self._catalogue, model)
        free = asyncio.Semaphore(_FILES_AT_ONCE)

        async def download(file: ModelFile) -> None:
            async with free:
                await FileDownload(
                    file,
                    staging / file.path,
                    client=self._client,
                    addresses=addresses,
                    on_bytes=lambda arrived: report.file_has(file.path, arrived),
                    pause=self._pause,
                ).run()

        try:
            async with asyncio.TaskGroup() as group:
                for file in model.files:
                    group.create_task(download(file))
        except ExceptionGroup as errors:
            # What the first one met is told; the others were cancelled for it, or met the same.
            raise errors.exceptions[0] from errors

    def _staging(self, model: ModelSpec) -> Path:
        return model.folder(self._models_dir / ".staging")


class _LocatedAddresses:
    """The addresses of one model's files, asked for when first needed and again when they have expired."""

    def __init__(self, catalogue: "CatalogueServiceAsyncStub", model: ModelSpec) -> None:
        self._catalogue = catalogue
        self._request = LocateModelFilesRequest(model_id=model.model_id, revision=model.revision)
        self._known: dict[str, str] = {}
        self._asking = asyncio.Lock()

    async def address_of(self, path: str) -> str:
        async with self._asking:
            if not self._known:
                self._known = await self._ask()
        if path not in self._known:
            raise ModelFetchError(f"the catalogue has no address for {path}")
        return self._known[path]

    def expire(self, address: str) -> None:
        if address in self._known.values():
            self._known = {}

    async def _ask(self) -> dict[str, str]:
        try:
            located = await self._catalogue.LocateModelFiles(self._request)
        except ServiceError as error:
            if error.reason in {Reason.MODEL_NOT_FOUND, Reason.MODEL_NOT_STORED}:
                raise ModelFetchError(f"{self._request.model_id} can't be fetched: {error}") from error
            raise
        return {file.path: file.url for file in located.files}


class _Reporter:
    """Tells the progress of a model from that of its files, a few times a second and at the end."""

    def __init__(self, model: ModelSpec, on_progress: Progress, monotonic_seconds: Callable[[], float]) -> None:
        self._size_bytes = model.size_bytes
        self._arrived: dict[str, int] = {}
        self._on_progress = on_progress
        self._monotonic_seconds = monotonic_seconds
        self._due_seconds = 0.0

    def file_has(self, path: str, arrived: int) -> None:
        self._arrived[path] = arrived
        self.all_have(sum(self._arrived.values()))

    def all_have(self, arrived: int) -> None:
        now_seconds = self._monotonic_seconds()
        if now_seconds >= self._due_seconds or arrived == self._size_bytes:
            self._due_seconds = now_seconds + _REPORT_SECONDS
            self._on_progress(arrived, self._size_bytes)


def lock_of(path: Path) -> FileLock:
    """Returns the lock of a file, one holder among all processes and machines: the kernel drops it when the holder dies.

    `docs/adr/0009-a-kernel-lock-guards-a-fetch.md` says why it is the kernel's, so that the library's other kind of lock is
    no substitute where the file system has none.
    """
    # Of the task, not of a thread: each call of it may run in another one.
    return FileLock(path, thread_local=False, fallback_to_soft=False)


def _try_acquire(lock: FileLock) -> bool:
    """Takes a lock, or returns False while another holds it; raises OSError."""
    Path(lock.lock_file).parent.mkdir(parents=True, exist_ok=True)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        return False
    return True


def _prepare(staging: Path, model: ModelSpec) -> None:
    """Makes the staging folder, drops what an earlier revision of the specification left, and looks for room."""
    staging.mkdir(parents=True, exist_ok=True)
    wanted = {staging / file.path for file in model.files}
    wanted |= {path.with_name(path.name + PARTIAL_SUFFIX) for path in wanted}
    for path in staging.rglob("*"):
        if path not in wanted and not path.is_dir():
            path.unlink()
    # Known before the first byte: a disk that fills up takes the other models' workers down as well.
    if shutil.disk_usage(staging).free < model.size_bytes - _staged_bytes(staging, model.files):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _staged_bytes(staging: Path, files: tuple[ModelFile, ...]) -> int:
    """Returns how many bytes of a model have arrived, as any worker sees it."""
    total = 0
    for file in files:
        path = staging / file.path
        for name in (path, path.with_name(path.name + PARTIAL_SUFFIX)):
            # It may be renamed between two looks.
            with contextlib.suppress(FileNotFoundError):
                total += name.stat().st_size
                break
    return total


def _publish(staging: Path, folder: Path) -> None:
    """Moves a complete model under its name, so that it survives a crash of the machine right after."""
    for path in (*staging.rglob("*"), staging):
        if path.is_dir():
            _sync_folder(path)
    try:
        _move(staging, folder)
    except OSError as error:
        if error.errno not in _TAKEN:
            raise
        # Only when the file system lost our lock (a network partition longer than its lease) and another worker came
        # first. What it put there was checked as ours was.
        shutil.rmtree(staging)


def _move(folder: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    folder.rename(target)
    _sync_folder(target.parent)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _problem_of(folder: Path, files: tuple[ModelFile, ...]) -> str | None:
    """Returns what is wrong with a folder; None when nothing is."""
    try:
        verify_files(folder, files)
    except ModelFilesError as error:
        return str(error)
    return None
