"""The buckets of a deployment as a backup reads and a restoration fills them."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from typing import Any, BinaryIO, cast

import obstore
from obstore.store import S3Store

from studio.stack.connections import ObjectStoreConnection

_PART_BYTES = 8 * 1024 * 1024
_LONGEST_HEAD_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class Listed:
    """An object as a listing shows it."""

    key: str
    size_bytes: int
    version: str
    """Changes with its bytes."""


class Bucket:
    """One bucket."""

    def __init__(self, connection: ObjectStoreConnection, name: str) -> None:
        """Takes the server and the bucket's name on it."""
        self._store = S3Store(
            name,
            endpoint=connection.endpoint_url,
            region=connection.region,
            access_key_id=connection.access_key,
            secret_access_key=connection.secret_key,
            virtual_hosted_style_request=False,
            client_options={"allow_http": True, "timeout": "60s"},
        )

    def objects(self) -> Iterator[Listed]:
        """Yields every object."""
        for page in obstore.list(self._store):
            for each in page:
                tag = (each["e_tag"] or each["last_modified"].isoformat()).strip('"')
                yield Listed(each["path"], each["size"], f"{tag}-{each['size']}".replace("/", "-"))

    def reading(self, key: str) -> "BinaryIO":
        """Opens an object, behind a line that holds what its bytes don't tell; raises FileNotFoundError."""
        found = obstore.get(self._store, key)
        head = json.dumps({"content_type": found.attributes.get("Content-Type", "")}) + "\n"
        return cast("BinaryIO", _Chained(head.encode(), iter(found.stream(min_chunk_size=_PART_BYTES))))

    def sizes(self) -> dict[str, int]:
        """Returns the size of each object by its key."""
        return {each.key: each.size_bytes for each in self.objects()}

    def delete(self, keys: list[str]) -> None:
        """Deletes objects."""
        if keys:
            obstore.delete(self._store, keys)

    def writing(self, key: str) -> "_Restored":
        """Returns a stream that takes what `reading` gave and, closed, stores the object."""
        return _Restored(self._store, key)


class _Chained:
    """A head and the pieces behind it, as a stream to read."""

    def __init__(self, head: bytes, pieces: Iterator[Any]) -> None:
        self._rest = BytesIO(head)
        self._pieces = pieces

    def read(self, size: int = -1) -> bytes:
        content = self._rest.read(size)
        while not content and size != 0:
            piece = next(self._pieces, None)
            if piece is None:
                return b""
            self._rest = BytesIO(bytes(piece))
            content = self._rest.read(size)
        return content


class _Restored:
    """A stream to write that takes its first line as the object's content type."""

    def __init__(self, store: S3Store, key: str) -> None:
        self._store = store
        self._key = key
        self._head = b""
        self._writer: Any = None

    def write(self, content: bytes) -> int:
        size = len(content)
        if self._writer is None:
            self._head += content
            line, end, content = self._head.partition(b"\n")
            if not end:
                if len(self._head) > _LONGEST_HEAD_BYTES:
                    raise ValueError(f"{self._key} doesn't begin with a line of JSON")
                return size
            content_type = json.loads(line)["content_type"]
            attributes = {"Content-Type": content_type} if content_type else None
            self._writer = obstore.open_writer(self._store, self._key, attributes=attributes, buffer_size=_PART_BYTES)
        if content:
            self._writer.write(content)
        return size

    def flush(self) -> None:
        """Does nothing: parts are sent as they fill."""

    def close(self) -> None:
        """Stores the object."""
        self._writer.close()
