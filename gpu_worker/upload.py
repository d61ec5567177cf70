"""Puts artifacts to the presigned addresses of an attempt. The worker has no credentials of the object store."""

import asyncio
from typing import Final

import aiohttp

from gpu_worker.encode import Artifact
from gpu_worker.object_client import TRANSPORT_ERRORS, is_success, signed

_TRIES: Final = 4
_FIRST_PAUSE_SECONDS: Final = 0.2
_TRY_SECONDS: Final = 60.0
"""For all of one object: 32 MiB at half a megabyte a second, to a store in the same data centre."""
_SERVER_ERROR: Final = 500


class UploadError(Exception):
    """Means that the object store didn't take an artifact, after several tries."""


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
        problem = ""
        for _ in range(_TRIES):
            try:
                status = await self._try(url, artifact)
            except TRANSPORT_ERRORS as error:
                problem = repr(error)
            else:
                if is_success(status):
                    return
                problem = f"HTTP {status}"
                if status < _SERVER_ERROR:
                    break
            await asyncio.sleep(pause)
            pause *= 2
        # Never the address: its query is a credential.
        raise UploadError(f"{artifact.name} was not stored: {problem}")

    async def _try(self, url: str, artifact: Artifact) -> int:
        headers = {"content-type": artifact.content_type}
        async with (
            asyncio.timeout(_TRY_SECONDS),
            self._client.put(signed(url), data=artifact.data, headers=headers, allow_redirects=False) as response,
        ):
            return response.status
