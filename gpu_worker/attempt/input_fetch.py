"""What a job begins with: fetches its source and its mask, and has them decoded.

Leaves what a picture may be to `decoding`. Fetching is bounded by size and time whatever the other end does.
"""

import asyncio
import hashlib
from collections.abc import Callable
from concurrent.futures import Executor
from functools import partial
from typing import Final, TypeVar

import aiohttp
import structlog

from gpu_worker.attempt.failures import AttemptFailedError
from gpu_worker.attempt.object_client import TRANSPORT_ERRORS, is_success, signed
from gpu_worker.pictures.inputs import NO_INPUTS, Inputs
from svc_common.decoding import MAX_BYTES, PictureRefusedError, decode_mask, decode_source
from svc_common.errors import Reason

D = TypeVar("D")

_log = structlog.get_logger(__name__)

_TRIES: Final = 4
_FIRST_PAUSE_SECONDS: Final = 0.2
_FETCH_SECONDS: Final = 60.0
"""For all of one picture: 32 MiB at half a megabyte a second, from a store in the same data centre."""
_SERVER_ERROR: Final = 500


class InputFetcher:
    """Fetches and decodes inputs over kept-alive connections."""

    def __init__(self, client: aiohttp.ClientSession, pool: Executor, *, fetch_seconds: float = _FETCH_SECONDS) -> None:
        """Takes a client from `object_client`, and the pool in which pictures are decoded."""
        self._client = client
        self._pool = pool
        self._fetch_seconds = fetch_seconds

    async def fetch(self, source_url: str, mask_url: str) -> Inputs:
        """Returns what the addresses hold; an empty address is an input that the job hasn't got.

        Raises:
            AttemptFailedError: SOURCE_INVALID when one of them isn't there or can't be used, STORAGE_FAILED when the
                store stayed away.
        """
        if not source_url:
            return NO_INPUTS
        source_data, mask_data = await asyncio.gather(
            self._bytes(source_url, "source"), self._bytes(mask_url, "mask") if mask_url else _nothing()
        )
        source, source_sha256 = await self._decoded(source_data, "source", decode_source)
        if mask_data is None:
            return Inputs(source=source, source_sha256=source_sha256)
        height, width, _ = source.shape
        as_large = partial(decode_mask, width_px=width, height_px=height)
        mask, mask_sha256 = await self._decoded(mask_data, "mask", as_large)
        return Inputs(source, mask, source_sha256, mask_sha256)

    async def _decoded(self, data: bytes, name: str, decode: Callable[[bytes], D]) -> tuple[D, str]:
        def work() -> tuple[D, str]:
            return decode(data), hashlib.sha256(data).hexdigest()

        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, work)
        except PictureRefusedError as error:
            _log.info("input.refused", input=name, error=str(error), cause=repr(error.__cause__))
            raise AttemptFailedError(Reason.SOURCE_INVALID, f"The {name} {error}") from error

    async def _bytes(self, url: str, name: str) -> bytes:
        pause = _FIRST_PAUSE_SECONDS
        problem = ""
        for _ in range(_TRIES):
            try:
                async with asyncio.timeout(self._fetch_seconds):
                    return await self._try(url, name)
            except _ServerAwayError as error:
                problem = f"HTTP {error}"
            except TRANSPORT_ERRORS as error:
                problem = repr(error)
            await asyncio.sleep(pause)
            pause *= 2
        # Never the address: its query is a credential.
        _log.warning("input.fetch_failed", input=name, problem=problem)
        raise AttemptFailedError(Reason.STORAGE_FAILED, f"The {name} couldn't be fetched. Try again later.")

    async def _try(self, url: str, name: str) -> bytes:
        async with self._client.get(signed(url), allow_redirects=False) as response:
            if response.status >= _SERVER_ERROR:
                raise _ServerAwayError(response.status)
            if not is_success(response.status):
                # A store may answer 403 for an object that is gone, so that nobody learns which names are taken.
                _log.info("input.missing", input=name, status=response.status)
                raise AttemptFailedError(
                    Reason.SOURCE_INVALID, f"The {name} isn't there any more. Upload it again, or choose another."
                )
            return await _bounded_body(response, name)


class _ServerAwayError(Exception):
    """The store answered that it can't answer."""


async def _bounded_body(response: aiohttp.ClientResponse, name: str) -> bytes:
    if (response.content_length or 0) > MAX_BYTES:
        raise _too_many_bytes(name)
    body = bytearray()
    async for part in response.content.iter_any():
        body += part
        if len(body) > MAX_BYTES:
            raise _too_many_bytes(name)
    return bytes(body)


def _too_many_bytes(name: str) -> AttemptFailedError:
    limit = MAX_BYTES // 2**20
    return AttemptFailedError(Reason.SOURCE_INVALID, f"The {name} has more than {limit} MiB. Make it smaller.")


async def _nothing() -> None:
    return None
