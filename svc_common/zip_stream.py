"""Writes a zip piece by piece, so that it never lies in memory as a whole."""

import zipfile
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import IO, Final, cast

_EARLIEST: Final = datetime(1980, 1, 1, tzinfo=UTC)
"""The zip's own calendar begins here."""


class ZipStream:
    """A zip whose entries are stored as they are, since pictures are compressed already, unless one asks for it."""

    def __init__(self) -> None:
        """Begins an empty zip."""
        self._sink = _Sink()
        self._zip = zipfile.ZipFile(cast("IO[bytes]", self._sink), "w", zipfile.ZIP_STORED)

    async def entry(
        self,
        name: str,
        time: datetime,
        size_bytes: int | None,
        chunks: AsyncIterator[bytes],
        *,
        is_compressed: bool = False,
    ) -> AsyncIterator[bytes]:
        """Adds an entry and yields what the zip has grown by; `size_bytes` is about how large it becomes, None if unknown."""
        info = zipfile.ZipInfo(name, max(time.astimezone(UTC), _EARLIEST).timetuple()[:6])
        info.compress_type = zipfile.ZIP_DEFLATED if is_compressed else zipfile.ZIP_STORED
        # Above it, sizes need 64 bits, which has to be said at the beginning of an entry.
        is_large = size_bytes is None or size_bytes >= zipfile.ZIP64_LIMIT
        with self._zip.open(info, "w", force_zip64=is_large) as entry:
            async for chunk in chunks:
                entry.write(chunk)
                yield self._sink.taken()
        yield self._sink.taken()

    def end(self) -> bytes:
        """Ends the zip and returns its last bytes."""
        self._zip.close()
        return self._sink.taken()


class _Sink:
    """A file that can only be written, and gives away what was."""

    def __init__(self) -> None:
        self._written = bytearray()

    def write(self, content: bytes) -> int:
        self._written += content
        return len(content)

    def flush(self) -> None:
        """There is nothing behind it."""

    def taken(self) -> bytes:
        """Returns what was written since the last time."""
        content, self._written = bytes(self._written), bytearray()
        return content
