"""Pictures and other bytes in S3: small reads and writes for services, presigned URLs for everybody else.

A row in PostgreSQL points to each object; keys and their meaning belong to the services.
"""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final, Protocol, Self
from urllib.parse import urlsplit

import obstore
from obstore.exceptions import BaseError
from obstore.store import S3Store

from svc_common.errors import ServiceError, dependency_unavailable
from svc_common.presigning import UploadSigner
from svc_common.settings import StoreSettings

if TYPE_CHECKING:
    from obstore import GetResult


_PART_BYTES: Final = 8 * 1024 * 1024
"""S3 takes 10,000 parts of an object: 80 GB."""


@dataclass(frozen=True, slots=True)
class StoredObject:
    """What the store knows of an object."""

    key: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class OpenObject:
    """An object that is being read."""

    size_bytes: int
    chunks: AsyncIterator[bytes]


class ObjectStore(Protocol):
    """A bucket. Every method raises ServiceError DEPENDENCY_UNAVAILABLE when the store doesn't answer."""

    async def presign_get(self, key: str, lifetime: timedelta) -> str:
        """Returns a URL that lets its holder read the object until the lifetime is over."""

    async def presign_put(self, key: str, lifetime: timedelta) -> str:
        """Returns a URL that lets its holder write the object until the lifetime is over."""

    async def presign_upload(
        self, key: str, content_type: str, size_bytes: int, lifetime: timedelta, now: datetime
    ) -> str:
        """Returns a URL that lets its holder write just so many bytes of a type, until the lifetime after `now` is over."""

    def public_address(self, url: str) -> str:
        """Returns a presigned URL of this bucket as clients outside the platform reach it."""

    async def head(self, key: str) -> StoredObject | None:
        """Returns the object's size, or None when there is none."""

    async def open(self, key: str, chunk_bytes: int) -> "OpenObject | None":
        """Begins to read an object from its start, or returns None when there is none; who stops early reads no more."""

    async def read(self, key: str) -> bytes | None:
        """Returns the object's bytes, or None when there is none."""

    async def write(self, key: str, content: bytes, content_type: str) -> None:
        """Stores an object, replacing one with the same key."""

    async def write_stream(self, key: str, chunks: AsyncIterator[bytes], content_type: str, file_name: str) -> None:
        """Stores an object of any size while it is made; when the making fails, nothing is stored and that is raised.

        `file_name` is what browsers call the file that they download.
        """

    async def delete(self, keys: Sequence[str]) -> None:
        """Deletes objects; keys without one are no error."""

    def list_prefix(self, prefix: str) -> AsyncIterator[StoredObject]:
        """Yields every object whose key starts with the prefix (whole path segments)."""


class S3ObjectStore:
    """A bucket on any S3 server, addressed path-style, as all of them understand that."""

    def __init__(
        self,
        *,
        bucket: str,
        region: str,
        endpoint_url: str,
        signing_endpoint_url: str,
        access_key: str,
        secret_key: str,
        public_url: str | None = None,
    ) -> None:
        """Takes where this process reaches the server and for which address URLs are signed, as the host is signed too.

        `public_url` is where clients reach it through a proxy that restores the signed host; absent: they reach it as signed.
        """

        def store(url: str) -> S3Store:
            return S3Store(
                bucket,
                endpoint=url,
                region=region,
                access_key_id=access_key,
                secret_access_key=secret_key,
                virtual_hosted_style_request=False,
                client_options={
                    "allow_http": urlsplit(url).scheme == "http",
                    "timeout": "30s",
                    "connect_timeout": "5s",
                },
                retry_config={"max_retries": 3, "retry_timeout": timedelta(seconds=10)},
            )

        self._store = store(endpoint_url)
        self._signing_url = signing_endpoint_url.rstrip("/")
        self._public_url = (public_url or signing_endpoint_url).rstrip("/")
        self._signing_store = store(signing_endpoint_url)
        self._upload_signer = UploadSigner(signing_endpoint_url, region, bucket, access_key, secret_key)

    @classmethod
    def from_settings(cls, settings: StoreSettings, bucket: str, *, public_url: str | None = None) -> Self:
        """Returns a bucket of the server that the settings name."""
        return cls(
            bucket=bucket,
            region=settings.s3_region,
            endpoint_url=settings.s3_endpoint_url,
            signing_endpoint_url=settings.s3_signing_endpoint_url,
            access_key=settings.s3_access_key,
            secret_key=settings.s3_secret_key,
            public_url=public_url,
        )

    async def presign_get(self, key: str, lifetime: timedelta) -> str:
        """Returns a URL that reads the object; nothing is sent for it."""
        # About 10 us of arithmetic: the asynchronous form costs five times that for the way to another thread and back.
        return obstore.sign(self._signing_store, "GET", key, lifetime)

    async def presign_put(self, key: str, lifetime: timedelta) -> str:
        """Returns a URL that writes the object; nothing is sent for it."""
        return obstore.sign(self._signing_store, "PUT", key, lifetime)

    async def presign_upload(
        self, key: str, content_type: str, size_bytes: int, lifetime: timedelta, now: datetime
    ) -> str:
        """Returns a URL that writes just so many bytes of a type; nothing is sent for it."""
        return self._upload_signer.presign(key, content_type, size_bytes, lifetime, now)

    def public_address(self, url: str) -> str:
        """Returns a presigned URL as clients reach it: the same path and signature, under the public address."""
        return self._public_url + url.removeprefix(self._signing_url)

    async def head(self, key: str) -> StoredObject | None:
        """Returns the object's size, or None when there is none."""
        try:
            meta = await self._store.head_async(key)
        except FileNotFoundError:
            return None
        except BaseError as error:
            raise _unavailable() from error
        return StoredObject(key, meta["size"])

    async def open(self, key: str, chunk_bytes: int) -> OpenObject | None:
        """Begins to read an object from its start; None when there is none.

        It isn't a read of a range, which S3 servers are at variance about: some answer it with 200 instead of 206. The
        connection of who stops early is closed, and with it ends what is on its way.
        """
        try:
            result = await self._store.get_async(key)
        except FileNotFoundError:
            return None
        except BaseError as error:
            raise _unavailable() from error
        return OpenObject(result.meta["size"], _chunks(result, chunk_bytes))

    async def read(self, key: str) -> bytes | None:
        """Returns the object's bytes, or None when there is none."""
        try:
            result = await self._store.get_async(key)
            return bytes(await result.bytes_async())
        except FileNotFoundError:
            return None
        except BaseError as error:
            raise _unavailable() from error

    async def write(self, key: str, content: bytes, content_type: str) -> None:
        """Stores an object, replacing one with the same key."""
        try:
            await self._store.put_async(key, content, attributes={"Content-Type": content_type})
        except BaseError as error:
            raise _unavailable() from error

    async def write_stream(self, key: str, chunks: AsyncIterator[bytes], content_type: str, file_name: str) -> None:
        """Stores an object in parts, of which two are in memory at a time."""
        attributes = {"Content-Type": content_type, "Content-Disposition": f'attachment; filename="{file_name}"'}
        try:
            await self._store.put_async(
                key, chunks, attributes=attributes, chunk_size=_PART_BYTES, max_concurrency=2, use_multipart=True
            )
        except BaseError as error:
            raise _unavailable() from error

    async def delete(self, keys: Sequence[str]) -> None:
        """Deletes objects; keys without one are no error."""
        try:
            await self._store.delete_async(list(keys))
        except FileNotFoundError:
            return
        except BaseError as error:
            raise _unavailable() from error

    async def list_prefix(self, prefix: str) -> AsyncIterator[StoredObject]:
        """Yields every object whose key starts with the prefix (whole path segments)."""
        try:
            async for batch in self._store.list(prefix):
                for meta in batch:
                    yield StoredObject(meta["path"], meta["size"])
        except BaseError as error:
            raise _unavailable() from error


async def _chunks(result: "GetResult", chunk_bytes: int) -> AsyncIterator[bytes]:
    try:
        async for chunk in result.stream(min_chunk_size=chunk_bytes):
            yield bytes(chunk)
    except BaseError as error:
        raise _unavailable() from error


def _unavailable() -> ServiceError:
    return dependency_unavailable("s3", "The object store doesn't answer. Retry with backoff.")
