"""Puts artifacts to the presigned addresses of an attempt. The worker has no credentials of the object store."""

import asyncio
from typing import Final

import httpx

from gpu_worker.encode import Artifact

_TRIES: Final = 4
_FIRST_PAUSE_SECONDS: Final = 0.2
_SERVER_ERROR: Final = 500


class UploadError(Exception):
    """Means that the object store didn't take an artifact, after several tries."""


class Uploader:
    """Uploads over kept-alive connections; any number of objects at once."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        """Takes a client, whose time-outs bound each try."""
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
                response = await self._client.put(
                    url, content=artifact.data, headers={"content-type": artifact.content_type}
                )
            except httpx.TransportError as error:
                problem = repr(error)
            else:
                if response.is_success:
                    return
                problem = f"HTTP {response.status_code}"
                if response.status_code < _SERVER_ERROR:
                    break
            await asyncio.sleep(pause)
            pause *= 2
        # Never the address: its query is a credential.
        raise UploadError(f"{artifact.name} was not stored: {problem}")
