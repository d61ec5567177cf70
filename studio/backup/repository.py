"""Where backups are kept: a folder, or a bucket below a prefix, holding any number of snapshots that share their objects.

    repository.json                       for whom everything is sealed
    identity.age                          the private key, under the passphrase; absent where only others' keys are used
    objects/BUCKET/KEY/VERSION.age        each version of an object once, whichever snapshots hold it
    snapshots/TIME/database.dump.age      pg_dump's custom format
    snapshots/TIME/folders.tar.age        keys and passwords of a stack, its mailbox, its payment stand-in's book
    snapshots/TIME/manifest.json.age      what belongs to the snapshot
    snapshots/TIME/complete.json          written last; a snapshot without it was interrupted

An object's sealed bytes begin with a line of JSON that holds its content type.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

import obstore
from obstore.exceptions import BaseError
from obstore.store import LocalStore, S3Store

from studio.backup import sealing
from studio.stack.failures import StackError

_FORMAT = 1
_DESCRIPTION, _IDENTITY = "repository.json", "identity.age"
_PART_BYTES = 8 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Repository:
    """One place for backups."""

    name: str
    store: LocalStore | S3Store

    @classmethod
    def at(cls, place: str) -> "Repository":
        """Takes a folder, or s3://BUCKET/PREFIX, whose server and keys are named by the usual AWS_ variables."""
        try:
            if place.startswith("s3://"):
                return cls(place, S3Store.from_url(place, client_options={"allow_http": True}))
            return cls(place, LocalStore(Path(place).expanduser().absolute(), mkdir=True))
        except (BaseError, OSError) as error:
            raise StackError(
                f"{place} can't hold backups: {error}",
                advice="Name a folder that you may write to, or s3://BUCKET/PREFIX.",
            ) from error

    def sealer(self) -> sealing.Sealer | None:
        """Returns for whom the repository is sealed, or None when it is new."""
        description = self.read(_DESCRIPTION)
        if description is None:
            return None
        document = json.loads(description)
        if document["format"] != _FORMAT:
            raise StackError(
                f"{self.name} was written by a newer release", advice="Use that release's `pingvas` to read it."
            )
        return sealing.Sealer(tuple(document["recipients"]))

    def create(self, recipients: list[str], secret: str | None) -> sealing.Sealer:
        """Makes a new repository: sealed for these keys, and for one of its own when a passphrase is given."""
        keys = list(sealing.Sealer.for_recipients(recipients).recipients)
        if secret is not None:
            identity, public = sealing.new_identity()
            self.write(_IDENTITY, sealing.locked(identity, secret))
            keys.append(public)
        self.write(_DESCRIPTION, json.dumps({"format": _FORMAT, "recipients": keys}, indent=2).encode())
        return sealing.Sealer(tuple(keys))

    def opener(self, secret: str) -> sealing.Opener:
        """Returns what reads the repository; raises StackError when it has no key of its own or the passphrase is another."""
        content = self.read(_IDENTITY)
        if content is None:
            raise StackError(
                f"{self.name} is sealed for a key that it doesn't hold", advice="Give that key's file with --identity."
            )
        return sealing.Opener(sealing.unlocked(content, secret))

    def read(self, path: str) -> bytes | None:
        """Returns a small file's bytes, or None when there is none."""
        try:
            return bytes(obstore.get(self.store, path).bytes())
        except FileNotFoundError:
            return None

    def write(self, path: str, content: bytes) -> None:
        """Writes a small file, whole or not at all."""
        obstore.put(self.store, path, content)

    def names(self, prefix: str) -> Iterator[str]:
        """Yields the paths of all files below a prefix."""
        for page in obstore.list(self.store, prefix):
            yield from (each["path"] for each in page)

    @contextmanager
    def writing(self, path: str) -> Iterator[BinaryIO]:
        """Opens a file to write; it is there when the block ends, and isn't when the block fails."""
        writer = obstore.open_writer(self.store, path, buffer_size=_PART_BYTES)
        yield cast("BinaryIO", writer)
        # Not after a failure: what isn't closed never appears.
        writer.close()

    def reading(self, path: str) -> "Readable":
        """Opens a file to read; raises StackError when there is none."""
        try:
            return Readable(obstore.open_reader(self.store, path))
        except FileNotFoundError as error:
            raise StackError(
                f"{self.name} has lost {path}", advice="Restore another backup, or repair the place where it is kept."
            ) from error


class Readable:
    """A stored file as a stream of plain bytes."""

    def __init__(self, source: Any) -> None:
        """Takes obstore's reader."""
        self._source = source

    def read(self, size: int = -1) -> bytes:
        """Returns up to that many bytes, all that are left without a size; none at the end."""
        return bytes(self._source.read(size) if size >= 0 else self._source.read())
