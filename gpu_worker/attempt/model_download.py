"""Downloading one file of a model: resumed where it broke off, and never put in place unless its SHA-256 is right.

Owns the partial file, the tries and the check. Leaves which files, where to, and who may fetch to `model_fetch`.
"""

import asyncio
import contextlib
import hashlib
import os
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from pathlib import Path
from typing import IO, Final, ParamSpec, Protocol, TypeVar

import aiohttp

from gpu_worker.attempt.object_client import TRANSPORT_ERRORS, is_success, signed
from gpu_worker.models.files import ModelFile, ModelFilesError

P = ParamSpec("P")
T = TypeVar("T")

PARTIAL_SUFFIX: Final = ".partial"
"""No file of a model ends so: its suffix is none of those that specifications may have."""
CHUNK_BYTES: Final = 2**20
"""Read, written and hashed at a time: half a millisecond of hashing, so that a cancelled download ends at once."""
_TRIES_WITHOUT_PROGRESS: Final = 6
_TRIES_OF_CORRUPT_FILES: Final = 3
_FIRST_PAUSE_SECONDS: Final = 0.2
_LONGEST_PAUSE_SECONDS: Final = 5.0
_FILE_MODE: Final = 0o666  # less the umask, as for every new file


class ModelFetchError(ModelFilesError):
    """A model's files can't be fetched; the message says which and why, and never an address, which is a credential."""


class Addresses(Protocol):
    """Knows where files are; addresses expire and are renewed."""

    async def address_of(self, path: str) -> str:
        """Returns a presigned address of a file; raises ModelFetchError when there is none."""

    def expire(self, address: str) -> None:
        """Has the next `address_of` ask for new addresses, unless that has happened since this one was given."""


class _InterruptedError(Exception):
    """The download broke off; what has arrived is kept."""


class _CorruptError(Exception):
    """The bytes that arrived aren't those of the specification."""


class FileDownload:
    """Downloads one file to a path, telling how many of its bytes are there."""

    def __init__(
        self,
        file: ModelFile,
        target: Path,
        *,
        client: aiohttp.ClientSession,
        addresses: Addresses,
        on_bytes: Callable[[int], None],
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """Takes the file and its place; the client's time-outs bound each read. `on_bytes` gets the bytes there in all."""
        self._file = file
        self._target = target
        self._partial = target.with_name(target.name + PARTIAL_SUFFIX)
        self._client = client
        self._addresses = addresses
        self._on_bytes = on_bytes
        self._pause = pause

    async def run(self) -> None:
        """Downloads the file, unless it stands in its place already from a fetch that was broken off.

        Raises:
            ModelFetchError: it can't be had, or arrives corrupt each time.
            OSError: it can't be written; the partial file stays.
        """
        if await in_thread(_has_size, self._target, self._file.size_bytes):
            self._on_bytes(self._file.size_bytes)
            return
        for _ in range(_TRIES_OF_CORRUPT_FILES):
            with contextlib.suppress(_CorruptError):
                await self._run_until_complete()
                return
            await in_thread(self._partial.unlink, missing_ok=True)
            self._on_bytes(0)
        raise ModelFetchError(f"{self._file.path} arrives with other bytes than its specification says")

    async def _run_until_complete(self) -> None:
        tries, arrived_before, pause_seconds = 0, -1, _FIRST_PAUSE_SECONDS
        while True:
            try:
                await self._continue()
            except _InterruptedError as error:
                arrived = await in_thread(_size_of, self._partial)
                tries = 1 if arrived > arrived_before else tries + 1
                if tries == 1:
                    pause_seconds = _FIRST_PAUSE_SECONDS
                if tries >= _TRIES_WITHOUT_PROGRESS:
                    raise ModelFetchError(f"{self._file.path} could not be downloaded: {error}") from error
                arrived_before = arrived
            else:
                return
            await self._pause(pause_seconds)
            pause_seconds = min(2 * pause_seconds, _LONGEST_PAUSE_SECONDS)

    async def _continue(self) -> None:
        """Goes on where the partial file ends, and puts it in place when it is complete."""
        stream = await in_thread(_open_partial, self._partial)
        try:
            digest = await self._digest_of_what_is_there(stream)
            if stream.tell() < self._file.size_bytes:
                await self._receive(stream, digest)
            if stream.tell() != self._file.size_bytes or digest.hexdigest() != self._file.sha256:
                raise _CorruptError
            await in_thread(_flush, stream)
        finally:
            await in_thread(stream.close)
        await in_thread(self._partial.replace, self._target)

    async def _digest_of_what_is_there(self, stream: IO[bytes]) -> "hashlib._Hash":
        digest = hashlib.sha256()
        while await in_thread(_read_into, digest, stream):
            self._on_bytes(stream.tell())
        return digest

    async def _receive(self, stream: IO[bytes], digest: "hashlib._Hash") -> None:
        address = await self._addresses.address_of(self._file.path)
        headers = {"range": f"bytes={stream.tell()}-"}
        try:
            async with self._client.get(signed(address), headers=headers, allow_redirects=False) as response:
                self._check(response, address, stream.tell())
                await self._write(response, stream, digest)
        except TRANSPORT_ERRORS as error:
            raise _InterruptedError(repr(error)) from error
        if stream.tell() < self._file.size_bytes:
            raise _InterruptedError("the connection ended early")

    async def _write(self, response: aiohttp.ClientResponse, stream: IO[bytes], digest: "hashlib._Hash") -> None:
        arrived = bytearray()
        try:
            async for chunk in response.content.iter_any():
                arrived += chunk
                if len(arrived) < CHUNK_BYTES:
                    continue
                # Emptied first: a cancelled append is carried out all the same, and must not be repeated below.
                block, arrived = arrived, bytearray()
                await in_thread(_append, stream, digest, block)
                self._on_bytes(stream.tell())
                if stream.tell() > self._file.size_bytes:
                    raise _CorruptError
        finally:
            # Also what came before the connection broke, or the job was cancelled.
            await in_thread(_append, stream, digest, arrived)
            self._on_bytes(stream.tell())

    def _check(self, response: aiohttp.ClientResponse, address: str, offset: int) -> None:
        if is_success(response.status):
            # Not by the status: there are servers that send a range as 200. Without a range it is the whole object.
            begins = response.headers.get("content-range", "bytes 0-")
            if not begins.startswith(f"bytes {offset}-"):
                raise _CorruptError
            return
        if HTTPStatus.BAD_REQUEST <= response.status < HTTPStatus.INTERNAL_SERVER_ERROR:
            # Most likely the address has expired; whether the object is still there, the catalogue says as well.
            self._addresses.expire(address)
        if response.status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            raise _CorruptError  # the object is shorter than what is here
        raise _InterruptedError(f"HTTP {response.status}")


async def in_thread(call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Calls something that blocks, in a thread, and returns its result.

    When the task is cancelled the call is waited for first: what it works on may be closed or unlocked next.
    """
    task = asyncio.ensure_future(asyncio.to_thread(call, *args, **kwargs))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        raise


def _open_partial(path: Path) -> IO[bytes]:
    path.parent.mkdir(parents=True, exist_ok=True)
    # No mode of `open` creates a file without emptying it and lets its beginning be read.
    return os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, _FILE_MODE), "r+b")


def _read_into(digest: "hashlib._Hash", stream: IO[bytes]) -> int:
    block = stream.read(CHUNK_BYTES)
    digest.update(block)
    return len(block)


def _append(stream: IO[bytes], digest: "hashlib._Hash", chunk: bytearray) -> None:
    stream.write(chunk)
    digest.update(chunk)


def _flush(stream: IO[bytes]) -> None:
    stream.flush()
    os.fsync(stream.fileno())


def _has_size(path: Path, size_bytes: int) -> bool:
    return path.is_file() and path.stat().st_size == size_bytes


def _size_of(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
