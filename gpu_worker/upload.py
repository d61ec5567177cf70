"""Puts artifacts to the presigned addresses of an attempt. The worker has no credentials of the object store."""

import asyncio
from collections.abc import Sequence
from typing import Final, Protocol

import httpx

from gpu_worker.encode import Artifact

_TRIES: Final = 4
_FIRST_PAUSE_SECONDS: Final = 0.2
_SERVER_ERROR: Final = 500


class UploadError(Exception):
    """Means that the object store didn't take an artifact, after several tries."""


class Slot(Protocol):
    """The addresses of one picture's objects; `pingvas.worker.v1.UploadSlot` has them."""

    @property
    def original_url(self) -> str:
        """Where original.png goes."""

    @property
    def thumbnail_url(self) -> str:
        """Where thumbnail.webp goes."""

    @property
    def metadata_url(self) -> str:
        """Where metadata.json goes."""


class Uploader:
    """Uploads over kept-alive connections, the objects of a job side by side."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        """Takes a client, whose time-outs bound each try."""
        self._client = client

    async def upload(self, slots: Sequence[Slot], artifacts: Sequence[tuple[Artifact, ...]]) -> None:
        """Uploads original, thumbnail and metadata of each picture.

        Raises:
            UploadError: the store refuses, or stayed away through all tries.
        """
        pairs = [
            pair
            for slot, of_image in zip(slots, artifacts, strict=True)
            for pair in zip((slot.original_url, slot.thumbnail_url, slot.metadata_url), of_image, strict=True)
        ]
        await asyncio.gather(*(self._put(url, artifact) for url, artifact in pairs))

    async def _put(self, url: str, artifact: Artifact) -> None:
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
