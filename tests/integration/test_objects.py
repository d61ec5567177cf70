"""The object store over a real S3 server."""

from collections.abc import AsyncIterator
from datetime import timedelta

import httpx
import pytest

from svc_common.clock import new_id, now
from svc_common.errors import Reason, ServiceError
from svc_common.objects import S3ObjectStore, StoredObject
from tests.harness_s3 import REGION, S3Server

MINUTE = timedelta(minutes=1)


@pytest.fixture
def store(s3_server: S3Server) -> S3ObjectStore:
    return s3_server.store()


@pytest.fixture
def prefix() -> str:
    return f"tests/{new_id()}"


async def test_written_object_is_read_back(store: S3ObjectStore, prefix: str) -> None:
    await store.write(f"{prefix}/a.png", b"bytes", "image/png")

    assert await store.read(f"{prefix}/a.png") == b"bytes"
    assert await store.head(f"{prefix}/a.png") == StoredObject(f"{prefix}/a.png", 5)


async def test_open_object_is_read_from_its_start_as_far_as_one_likes(store: S3ObjectStore, prefix: str) -> None:
    content = bytes(range(256)) * 8192
    await store.write(f"{prefix}/large", content, "application/octet-stream")

    whole = await store.open(f"{prefix}/large", 64 * 1024)
    assert whole is not None
    assert whole.size_bytes == len(content)
    assert b"".join([chunk async for chunk in whole.chunks]) == content

    begun = await store.open(f"{prefix}/large", 64 * 1024)
    assert begun is not None
    first = await anext(begun.chunks)
    assert 64 * 1024 <= len(first) < len(content)
    assert content.startswith(first)
    assert await store.open(f"{prefix}/missing", 1) is None


async def test_object_is_stored_while_it_is_made(store: S3ObjectStore, prefix: str) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for at in range(20):
            yield bytes([at]) * 1024 * 1024

    await store.write_stream(f"{prefix}/a.zip", pieces(), "application/zip", "pictures.zip")

    assert await store.read(f"{prefix}/a.zip") == b"".join(bytes([at]) * 1024 * 1024 for at in range(20))
    async with httpx.AsyncClient() as client:
        answer = await client.get(await store.presign_get(f"{prefix}/a.zip", MINUTE))
    assert answer.headers["content-type"] == "application/zip"


async def test_nothing_is_stored_when_the_making_fails(store: S3ObjectStore, prefix: str) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        yield bytes(20 * 1024 * 1024)
        raise KeyError("the maker's own")

    with pytest.raises(KeyError, match="the maker's own"):
        await store.write_stream(f"{prefix}/a.zip", pieces(), "application/zip", "pictures.zip")
    assert await store.head(f"{prefix}/a.zip") is None


@pytest.mark.parametrize("key", ["plain.png", "with a space.png", "ümläut+plus&more=%.png"])
async def test_signed_upload_takes_that_type_and_size_only(store: S3ObjectStore, prefix: str, key: str) -> None:
    url = await store.presign_upload(f"{prefix}/{key}", "image/png", 5, MINUTE, now())
    async with httpx.AsyncClient() as client:
        for content, content_type in ((b"1234", "image/png"), (b"123456", "image/png"), (b"12345", "image/jpeg")):
            assert (await client.put(url, content=content, headers={"content-type": content_type})).status_code == 403
        assert (await client.put(url, content=b"12345", headers={"content-type": "image/png"})).is_success
    assert await store.read(f"{prefix}/{key}") == b"12345"


async def test_missing_object_is_none(store: S3ObjectStore, prefix: str) -> None:
    assert await store.read(f"{prefix}/missing") is None
    assert await store.head(f"{prefix}/missing") is None


async def test_deleted_object_is_gone_and_deleting_again_is_no_error(store: S3ObjectStore, prefix: str) -> None:
    keys = [f"{prefix}/{name}" for name in ("a", "b")]
    for key in keys:
        await store.write(key, b"x", "text/plain")
    await store.delete(keys)
    await store.delete([*keys, f"{prefix}/never-there"])
    await store.delete([])

    assert [await store.head(key) for key in keys] == [None, None]


async def test_list_gives_whole_path_segments_only(store: S3ObjectStore, prefix: str) -> None:
    for name in ("one/a", "one/b/c", "one-more/a"):
        await store.write(f"{prefix}/{name}", b"12", "text/plain")

    found = [each async for each in store.list_prefix(f"{prefix}/one")]

    assert sorted(found, key=lambda each: each.key) == [
        StoredObject(f"{prefix}/one/a", 2),
        StoredObject(f"{prefix}/one/b/c", 2),
    ]


async def test_presigned_urls_let_their_holder_write_and_read(store: S3ObjectStore, prefix: str) -> None:
    key = f"{prefix}/picture.png"
    async with httpx.AsyncClient() as http:
        put = await http.put(await store.presign_put(key, MINUTE), content=b"picture")
        got = await http.get(await store.presign_get(key, MINUTE))

    assert (put.status_code, got.status_code, got.content) == (200, 200, b"picture")


async def test_presigned_url_is_for_its_key_and_verb_only(store: S3ObjectStore, prefix: str) -> None:
    await store.write(f"{prefix}/a", b"a", "text/plain")
    await store.write(f"{prefix}/b", b"b", "text/plain")
    url = await store.presign_get(f"{prefix}/a", MINUTE)
    async with httpx.AsyncClient() as http:
        other_key = await http.get(url.replace(f"{prefix}/a", f"{prefix}/b"))
        other_verb = await http.put(url, content=b"overwritten")

    assert (other_key.status_code, other_verb.status_code) == (403, 403)
    assert await store.read(f"{prefix}/a") == b"a"


async def test_presigned_url_names_the_endpoint_of_clients(s3_server: S3Server, prefix: str) -> None:
    store = s3_server.store(signing_endpoint_url="https://pictures.example")

    url = await store.presign_get(f"{prefix}/a", MINUTE)

    assert url.startswith(f"https://pictures.example/{S3Server.bucket}/{prefix}/a?")


async def test_store_that_is_not_there_is_an_unavailable_dependency(prefix: str) -> None:
    store = S3ObjectStore(
        bucket="none",
        region=REGION,
        endpoint_url="http://127.0.0.1:1",
        signing_endpoint_url="http://127.0.0.1:1",
        access_key="test-access",
        secret_key="test-secret",
    )
    with pytest.raises(ServiceError) as caught:
        await store.read(f"{prefix}/a")

    assert caught.value.reason is Reason.DEPENDENCY_UNAVAILABLE
    assert caught.value.metadata == {"dependency": "s3"}
