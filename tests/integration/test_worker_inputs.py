"""Fetching inputs, from a real object store and from servers that behave badly."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from datetime import timedelta

import numpy as np
import pytest

from gpu_worker.attempt.failures import AttemptFailedError
from gpu_worker.attempt.input_fetch import InputFetcher
from gpu_worker.attempt.object_client import open_client
from gpu_worker.pictures.inputs import NO_INPUTS
from svc_common.decoding import MAX_BYTES
from svc_common.errors import Reason
from tests.factories.pictures import moving_picture_bytes, picture_bytes
from tests.harness_s3 import S3Server

SIGNED_FOR = timedelta(minutes=5)
PICTURE = picture_bytes(40, 24)
Answer = Callable[[int], list[bytes]]
"""Makes the parts of the reply to the n-th request, from 1; without parts the connection is cut."""


@asynccontextmanager
async def fetching(fetch_seconds: float) -> AsyncIterator[InputFetcher]:
    with ThreadPoolExecutor(1) as pool:
        async with open_client(connect_seconds=1.0, read_seconds=5.0) as client:
            yield InputFetcher(client, pool, fetch_seconds=fetch_seconds)


@pytest.fixture
async def fetcher() -> AsyncIterator[InputFetcher]:
    async with fetching(60.0) as fetcher:
        yield fetcher


@asynccontextmanager
async def serving(answer: Answer, *, linger: bool = False) -> AsyncIterator[str]:
    """Serves HTTP as `answer` says, on a free port; lingering, it never ends a reply."""
    count = 0
    done = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal count
        count += 1
        await reader.readuntil(b"\r\n\r\n")
        for part in answer(count):
            writer.write(part)
            try:
                await writer.drain()
            except ConnectionError:
                break
        if linger:
            await done.wait()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/secret?signature=credential"
    finally:
        done.set()
        server.close()


def reply(body: bytes, status: str = "200 OK") -> bytes:
    return f"HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body


async def refusal(fetcher: InputFetcher, source_url: str, mask_url: str = "") -> AttemptFailedError:
    with pytest.raises(AttemptFailedError) as caught:
        await fetcher.fetch(source_url, mask_url)
    assert "credential" not in caught.value.message
    return caught.value


async def test_job_without_inputs_fetches_nothing(fetcher: InputFetcher) -> None:
    assert await fetcher.fetch("", "") is NO_INPUTS


async def test_source_and_mask_are_fetched_from_the_store(fetcher: InputFetcher, s3_server: S3Server) -> None:
    store = s3_server.store()
    mask = picture_bytes(10, 6, "WEBP")
    await store.write("inputs/source", PICTURE, "image/png")
    await store.write("inputs/mask", mask, "image/webp")
    inputs = await fetcher.fetch(
        await store.presign_get("inputs/source", SIGNED_FOR), await store.presign_get("inputs/mask", SIGNED_FOR)
    )
    assert inputs.source is not None
    assert inputs.mask is not None
    assert (inputs.source.shape, inputs.mask.shape) == ((24, 40, 3), (24, 40))
    assert inputs.source_sha256 == hashlib.sha256(PICTURE).hexdigest()
    assert inputs.mask_sha256 == hashlib.sha256(mask).hexdigest()


async def test_source_that_is_gone_is_told_as_such(fetcher: InputFetcher, s3_server: S3Server) -> None:
    failure = await refusal(fetcher, await s3_server.store().presign_get("inputs/gone", SIGNED_FOR))
    assert failure.reason is Reason.SOURCE_INVALID
    assert failure.message == "The source isn't there any more. Upload it again, or choose another."


async def test_unusable_mask_is_named(fetcher: InputFetcher, s3_server: S3Server) -> None:
    store = s3_server.store()
    await store.write("inputs/good", PICTURE, "image/png")
    await store.write("inputs/moving", moving_picture_bytes(), "image/png")
    failure = await refusal(
        fetcher,
        await store.presign_get("inputs/good", SIGNED_FOR),
        await store.presign_get("inputs/moving", SIGNED_FOR),
    )
    assert failure.reason is Reason.SOURCE_INVALID
    assert failure.message.startswith("The mask has several frames.")


async def test_content_type_of_the_store_plays_no_part(fetcher: InputFetcher, s3_server: S3Server) -> None:
    store = s3_server.store()
    await store.write("inputs/gif.png", picture_bytes(form="GIF"), "image/png")
    failure = await refusal(fetcher, await store.presign_get("inputs/gif.png", SIGNED_FOR))
    assert "no PNG, JPEG or WebP" in failure.message


async def test_large_object_of_the_store_is_refused(fetcher: InputFetcher, s3_server: S3Server) -> None:
    store = s3_server.store()
    await store.write("inputs/large", bytes(MAX_BYTES + 2**20), "image/png")
    failure = await refusal(fetcher, await store.presign_get("inputs/large", SIGNED_FOR))
    assert failure.reason is Reason.SOURCE_INVALID
    assert failure.message == "The source has more than 32 MiB. Make it smaller."


async def test_endless_reply_of_unknown_length_is_cut_off(fetcher: InputFetcher) -> None:
    head = b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n"
    async with serving(lambda _: [head, *[bytes(2**20)] * 64]) as url:
        failure = await refusal(fetcher, url)
    assert failure.message == "The source has more than 32 MiB. Make it smaller."


@pytest.mark.parametrize(
    "first_answers",
    [
        pytest.param([reply(b"", "503 Slow Down")], id="away"),
        pytest.param([b""], id="cut"),
        pytest.param([reply(PICTURE)[:-50]], id="cut in the middle"),
        pytest.param([reply(b"", "500 Oops"), b"", reply(PICTURE)[:-1]], id="three times"),
    ],
)
async def test_fetch_is_repeated_when_the_store_stumbles(fetcher: InputFetcher, first_answers: list[bytes]) -> None:
    def answer(count: int) -> list[bytes]:
        return [first_answers[count - 1] if count <= len(first_answers) else reply(PICTURE)]

    async with serving(answer) as url:
        inputs = await fetcher.fetch(url, "")
    assert inputs.source is not None
    assert np.asarray(inputs.source).shape == (24, 40, 3)


async def test_store_that_stays_away_is_no_fault_of_the_source(fetcher: InputFetcher) -> None:
    async with serving(lambda _: [reply(b"", "503 Slow Down")]) as url:
        failure = await refusal(fetcher, url)
    assert failure.reason is Reason.STORAGE_FAILED


async def test_reply_that_trickles_is_given_up() -> None:
    head = b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n"
    async with fetching(0.1) as hasty, serving(lambda _: [head, PICTURE[:20]], linger=True) as url:
        failure = await refusal(hasty, url)
    assert failure.reason is Reason.STORAGE_FAILED
