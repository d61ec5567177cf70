"""Puts artifacts to the presigned addresses of an attempt. The worker has no credentials of the object store."""

import asyncio
from http import HTTPStatus
from typing import Final

import aiohttp

from gpu_worker.attempt.object_client import TRANSPORT_ERRORS, is_success, signed
from gpu_worker.pictures.encode import Artifact

_TRIES: Final = 4
_FIRST_PAUSE_SECONDS: Final = 0.2
_TRY_SECONDS: Final = 60.0
"""For all of one object: 32 MiB at half a megabyte a second, to a store in the same data centre."""
_SERVER_ERROR: Final = 500
_ERROR_BYTES: Final = 4096
_FULL_CODES: Final = (b"XMinioStorageFull", b"InsufficientStorage", b"QuotaExceeded", b"no space left on device")
"""How MinIO, others by WebDAV's name, Ceph and file systems say it. Amazon's S3 is never full; rclone answers 500 alone."""


class UploadError(Exception):
    """Means that the object store didn't take an artifact, after several tries.

    Attributes:
        may_pass: whether the store is away or has no room, and may take it later; else it has refused it.
        is_full: whether the store said that it has no room.

    """

    def __init__(self, message: str, *, may_pass: bool, is_full: bool = False) -> None:
        """Carries what is known of the store."""
        super().__init__(message)
        self.may_pass = may_pass
        self.is_full = is_full


def says_full(status: int, body: bytes) -> bool:
    """Tells whether an S3 server refused an object because it has no room."""
    return status == HTTPStatus.INSUFFICIENT_STORAGE or any(code in body for code in _FULL_CODES)


class Uploader:
    """Uploads over kept-alive connections; any number of objects at once."""

    def __init__(self, client: aiohttp.ClientSession) -> None:
        """Takes a client from `object_client`."""
        self._client = client

    async def put(self, url: str, artifact: Artifact) -> None:
        """Puts an artifact to a presigned address.

        Raises:
            UploadError: the store refuses, or stayed away through all tries.
        """
        pause = _FIRST_PAUSE_SECONDS
        problem, may_pass = "", True
        for _ in range(_TRIES):
            try:
                status, body = await self._try(url, artifact)
            except TRANSPORT_ERRORS as error:
                problem = repr(error)
            else:
                if is_success(status):
                    return
                problem, may_pass = f"HTTP {status}", status >= _SERVER_ERROR
                if says_full(status, body):
                    raise UploadError(f"{artifact.name} was not stored: no room", may_pass=True, is_full=True)
                if not may_pass:
                    break
            await asyncio.sleep(pause)
            pause *= 2
        # Never the address: its query is a credential.
        raise UploadError(f"{artifact.name} was not stored: {problem}", may_pass=may_pass)

    async def _try(self, url: str, artifact: Artifact) -> tuple[int, bytes]:
        headers = {"content-type": artifact.content_type}
        async with (
            asyncio.timeout(_TRY_SECONDS),
            self._client.put(signed(url), data=artifact.data, headers=headers, allow_redirects=False) as response,
        ):
            return response.status, b"" if is_success(response.status) else await response.content.read(_ERROR_BYTES)
